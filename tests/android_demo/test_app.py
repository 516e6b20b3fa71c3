"""The app: built, tested and packed by the one command of its README; what comes out is what a phone takes."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.devices

APP = Path(__file__).resolve().parents[2] / "android_demo/app"
ANDROID = "{http://schemas.android.com/apk/res/android}"


@pytest.fixture(scope="module")
def built():
    """Return what Maven says; core's own tests ran with test_core.py."""
    command = [APP.parent / "mvn.sh", "--batch-mode", "package", "-Dtest=org.edgemoe.**"]
    command.append("-Dsurefire.failIfNoSpecifiedTests=false")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def test_the_tests_of_the_module(built):
    """All of them ran, on the oldest Android and on the newest."""
    ran = [tuple(map(int, found)) for found in re.findall(r"Tests run: (\d+).*Skipped: (\d+)\n", built)]
    assert ran and max(count for count, _ in ran) >= 80
    assert not any(skipped for _, skipped in ran)
    assert "[26]" in (APP / "target/surefire-reports/TEST-org.edgemoe.demo.MainActivityTest.xml").read_text()


def test_what_a_phone_installs(built):
    """Small, for 64-bit Arm, without a permission (package.sh looks), and everything is in one dex file."""
    with zipfile.ZipFile(APP / "target/demo.apk") as apk:
        names = apk.namelist()
    assert [name for name in names if name.endswith(".dex")] == ["classes.dex"]
    assert [name for name in names if name.endswith(".so")] == ["lib/arm64-v8a/libtensorflowlite_jni.so"]
    assert (APP / "target/demo.apk").stat().st_size < 4_000_000
    assert (APP / "target/demo.aab").is_file()


def test_the_mutants_can_still_be_made():
    """Of mutants.sh; that the tests see each takes two minutes a mutant, and is for who changes them."""
    done = subprocess.run([APP / "src/test/mutants.sh", "-n"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and all(line.endswith(": can be made") for line in lines), done.stdout


def test_every_text_is_in_both_languages():
    """Under the same name, with the same places for values."""

    def texts(folder: str) -> dict[str, list[str]]:
        tree = ElementTree.parse(APP / f"src/main/res/{folder}/strings.xml").getroot()
        found = {one.attrib["name"]: "".join(one.itertext()) for one in tree}
        return {name: sorted(re.findall(r"%\d?\$?[sd]", text)) for name, text in found.items()}

    assert texts("values") == texts("values-de")


def test_gradle_and_maven_make_the_same_app():
    """Gradle's build is not run here: what both say has to agree."""
    gradle = (APP / "build.gradle.kts").read_text()
    script = (APP / "resources.sh").read_text()
    options = {"minSdk": "min-sdk-version", "targetSdk": "target-sdk-version", "versionCode": "version-code"}
    for name, option in options.items():
        (number,) = re.findall(rf"{name} = (\d+)", gradle)
        assert f"--{option} {number}" in script
    (package,) = re.findall(r'applicationId = "([\w.]+)"', gradle)
    assert f'package="{package}"' in script
    manifest = ElementTree.parse(APP / "src/main/AndroidManifest.xml").getroot()
    assert not manifest.findall("uses-permission")
    sweep = next(one for one in manifest.iter("activity") if one.attrib[f"{ANDROID}name"] == ".SweepActivity")
    assert sweep.attrib[f"{ANDROID}permission"] == "android.permission.DUMP"
