#!/bin/sh
# Resources and manifest -> R.java, what the tests take them from, and what goes into the app; all in target/.
set -eu
cd "$(dirname "$0")"
framework=$(echo ../tools/target/frameworks/android-all-15-*.jar)
work=$PWD/target/resources
out=$PWD/target/generated
rm -rf "$work" "$out"
mkdir -p "$work" "$out/java" "$out/test/com/android/tools"
aapt2=$(../tools/aapt2.sh)

# Gradle puts it there itself: the package is that of build.gradle.kts.
sed 's/<manifest /<manifest package="org.edgemoe.demo" /' src/main/AndroidManifest.xml > "$work/AndroidManifest.xml"

link() {
    "$aapt2" link -I "$framework" --manifest "$work/AndroidManifest.xml" --min-sdk-version 26 --target-sdk-version 35 \
        --version-code 1 --version-name 0.1 --auto-add-overlay "$@" "$work/compiled.zip"
}
"$aapt2" compile --dir src/main/res -o "$work/compiled.zip"
# The tests' has a bundle among its assets, for those that are about that.
link -o "$work/resources.apk" -A src/test --java "$out/java" --proguard "$work/keep.pro"
link -o "$work/base.zip" --proto-format

cat > "$out/test/com/android/tools/test_config.properties" << END
android_custom_package=org.edgemoe.demo
android_merged_manifest=$work/AndroidManifest.xml
android_merged_resources=$PWD/src/main/res
android_resource_apk=$work/resources.apk
END
