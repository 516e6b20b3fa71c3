#!/bin/sh
# tensorflow-lite*.aar -> classes/, and lib/arm64-v8a/*.so. An .aar is a zip with the classes in another one.
set -eu
cd "$(dirname "$0")/target"
mkdir -p classes
for archive in tensorflow-lite tensorflow-lite-api; do
    rm -rf "$archive"
    mkdir "$archive"
    (cd "$archive" && jar xf "../$archive.aar")
    (cd classes && jar xf "../$archive/classes.jar")
done
rm -rf classes/META-INF lib
mkdir lib
cp -R tensorflow-lite/jni/arm64-v8a lib/
