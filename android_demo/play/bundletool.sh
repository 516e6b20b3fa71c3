#!/bin/sh
# bundletool, as ../tools brings it; for build-apks with an aapt2, which the one in Maven Central has not. For aab.py as well.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tools=$here/../tools/target
version=$(sed -n 's|.*<bundletool.version>\(.*\)</bundletool.version>.*|\1|p' "$here/../pom.xml")
if [ ! -f "$tools/bundletool/bundletool-$version.jar" ] || [ ! -f "$tools/jars/apktool-lib.jar" ]; then
    "$here/../mvn.sh" --batch-mode -f tools/pom.xml initialize >&2
fi
aapt2=$("$here/../tools/aapt2.sh")
[ "${1-}" != build-apks ] || set -- "$@" "--aapt2=$aapt2"
exec java -cp "$tools/bundletool/*" com.android.tools.build.bundletool.BundleToolMain "$@"
