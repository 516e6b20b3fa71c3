#!/bin/sh
# Classes, resources, LiteRT's library -> target/base.zip (bundletool's base module), target/demo.aab, target/demo.apk.
# The .apk is signed with a key that is made here: for a phone of one's own. The .aab is signed by whoever uploads it.
set -eu
cd "$(dirname "$0")/target"
command -v apksigner > /dev/null || { echo "there is no apksigner; install it: apt-get install apksigner" >&2; exit 1; }
tools=$PWD/../../tools/target
home=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}
framework=$(echo "$tools"/frameworks/android-all-15-*.jar)
bundletool() { ../../play/bundletool.sh "$@"; }

# One dex file of what is used: of Kotlin's library, of Jackson, of LiteRT.
rm -rf dex base base.zip demo.aab demo.apks demo.apk
mkdir -p dex base/manifest base/dex base/lib
# shellcheck disable=SC2046 # a list of files
java -cp "$tools/jars/r8.jar" com.android.tools.r8.R8 --release --min-api 26 --no-data-resources \
    --lib "$framework" --lib "$home" --pg-conf ../rules.pro --pg-conf resources/keep.pro --output dex \
    app.jar $(tr ':' ' ' < classpath)

(cd base && jar xf ../resources/base.zip)
mv base/AndroidManifest.xml base/manifest/
cp dex/classes.dex base/dex/
cp -R ../../litert/target/lib/arm64-v8a base/lib/
[ ! -d ../src/main/assets ] || cp -R ../src/main/assets base/
(cd base && jar cMf ../base.zip ./*)

bundletool build-bundle --modules=base.zip --output=demo.aab
bundletool validate --bundle=demo.aab > /dev/null
[ -f debug.keystore ] || keytool -genkeypair -keystore debug.keystore -storepass android -alias demo -dname CN=demo \
    -keyalg RSA -keysize 2048 -validity 10000 2> /dev/null
bundletool build-apks --bundle=demo.aab --output=demo.apks --mode=universal \
    --ks=debug.keystore --ks-pass=pass:android --ks-key-alias=demo > /dev/null
jar xf demo.apks universal.apk
mv universal.apk demo.apk

apksigner verify --min-sdk-version 26 demo.apk
permissions=$("$tools/aapt2" dump permissions demo.apk | grep uses-permission || true)
[ -z "$permissions" ] || { echo "the app asks for a permission: $permissions" >&2; exit 1; }
ls -l demo.apk demo.aab base.zip
