#!/bin/sh
# bundletool, as ../tools brings it; for build-apks with an aapt2, which the one in Maven Central has not.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tools=$here/../tools/target
aapt2=$here/target/aapt2
version=$(sed -n 's|.*<bundletool.version>\(.*\)</bundletool.version>.*|\1|p' "$here/../pom.xml")
if [ ! -f "$tools/bundletool/bundletool-$version.jar" ] || [ ! -f "$tools/jars/apktool-lib.jar" ]; then
    "$here/../mvn.sh" --batch-mode -f tools/pom.xml initialize >&2
fi
if [ ! "$aapt2" -nt "$tools/jars/apktool-lib.jar" ]; then
    case $(uname -s) in Darwin) system=macosx ;; *) system=linux ;; esac
    mkdir -p "$here/target"
    draft=$(mktemp -d "$here/target/draft.XXXXXX")
    (cd "$draft" && jar xf "$tools/jars/apktool-lib.jar" "prebuilt/$system/aapt2")
    chmod +x "$draft/prebuilt/$system/aapt2"
    touch "$draft/prebuilt/$system/aapt2"
    mv -f "$draft/prebuilt/$system/aapt2" "$aapt2" # whole at once, whoever else brings it
    rm -r "$draft"
fi
[ "${1-}" != build-apks ] || set -- "$@" "--aapt2=$aapt2"
exec java -cp "$tools/bundletool/*" com.android.tools.build.bundletool.BundleToolMain "$@"
