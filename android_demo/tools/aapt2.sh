#!/bin/sh
# Say where aapt2 is, having taken it out of apktool's library, which ../tools/pom.xml brings: Maven Central has no other.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)/target
aapt2=$tools/aapt2
if [ ! "$aapt2" -nt "$tools/jars/apktool-lib.jar" ]; then
    case $(uname -s) in Darwin) system=macosx ;; *) system=linux ;; esac
    draft=$(mktemp -d "$tools/draft.XXXXXX")
    (cd "$draft" && jar xf "$tools/jars/apktool-lib.jar" "prebuilt/$system/aapt2")
    chmod +x "$draft/prebuilt/$system/aapt2"
    touch "$draft/prebuilt/$system/aapt2"
    mv -f "$draft/prebuilt/$system/aapt2" "$aapt2" # whole at once, whoever else brings it
    rm -r "$draft"
fi
echo "$aapt2"
