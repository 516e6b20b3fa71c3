#!/bin/sh
# The build's own Maven, which compares everything that it takes with .mvn/checksums (Debian's cannot): brought once, by
# whatever Maven is here, into the user's cache, compared with its SHA-256, and run in this folder.
set -eu
version=3.9.12
sha256=fa2c9948729296c23afd18fd01a90f62cdda09a46191b54a8bc3764c2eee812e
cache=${EDGE_MOE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-moe}/android
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
digest() { if command -v sha256sum > /dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }
maven=$cache/apache-maven-$version
if [ ! -d "$maven" ]; then
    command -v mvn >/dev/null || { echo "there is no Maven; install one: apt-get install maven" >&2; exit 1; }
    mkdir -p "$cache"
    draft=$(mktemp -d "$cache/draft.XXXXXX")
    trap 'rm -rf "$draft"' EXIT
    (cd "$draft" && mvn -B -q -C -Dmaven.repo.local="$draft/repository" \
        org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy \
        -Dartifact=org.apache.maven:apache-maven:$version:tar.gz:bin -DoutputDirectory="$draft")
    archive=$draft/apache-maven-$version-bin.tar.gz
    found=$(digest "$archive")
    [ "$found" = "$sha256" ] || { echo "Maven $version has the sha256 $found, expected $sha256" >&2; exit 1; }
    tar -xzf "$archive" -C "$draft"
    # Another first run may have been quicker: then its own is as good, and this one must not end up inside of it.
    [ -d "$maven" ] || mv "$draft/apache-maven-$version" "$maven"
    rm -rf "$draft"
    trap - EXIT
fi
cd "$(dirname "$0")"
exec "$maven/bin/mvn" -Dmaven.repo.local="$cache/repository" "$@"
