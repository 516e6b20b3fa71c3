"""bundletool, as Play has it: an app bundle of asset packs is valid, and experts are no part of what is installed.

The app is the smallest there is, `tests.android_demo.base_module`. Needs a JDK 17 and Maven.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge_moe import Bundle
from edge_moe.play import lay_out
from edge_moe.verify import verify
from tests.android_demo.base_module import write_base
from tests.tiny import visible

pytestmark = pytest.mark.devices

PLAY = Path(__file__).parents[2] / "android_demo/play"
EXPERTS = ["bundle_expert_00", "bundle_expert_01"]
OLDEST, NEWEST = 26, 35
phones = pytest.mark.parametrize("sdk", [OLDEST, NEWEST])


def bundletool(*arguments: object) -> str:
    command = [PLAY / "bundletool.sh", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def aab(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PLAY / "aab.py", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(own_bundle, tmp_path_factory):
    """A folder with base.zip, packs/, app.aab, and app.apks with everything that Play would make of it."""
    folder = tmp_path_factory.mktemp("play")
    lay_out(Bundle(own_bundle), folder / "packs")
    done = aab(write_base(folder / "base.zip"), folder / "packs", "-o", folder / "app.aab")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    bundletool("build-apks", f"--bundle={folder / 'app.aab'}", f"--output={folder / 'app.apks'}")
    return folder


@pytest.fixture
def phone(made, tmp_path):
    """phone(sdk) -> the options by which bundletool knows an arm64 phone."""

    def of(sdk: int) -> list[str]:
        spec = {"supportedAbis": ["arm64-v8a"], "supportedLocales": ["en"], "screenDensity": 420, "sdkVersion": sdk}
        (tmp_path / "phone.json").write_text(json.dumps(spec))
        return [f"--apks={made / 'app.apks'}", f"--device-spec={tmp_path / 'phone.json'}"]

    return of


def extracted(options: list[str], out: Path, *more: str) -> list[str]:
    """The names of the packs that bundletool would install; their .apks are in `out`."""
    bundletool("extract-apks", *options, f"--output-dir={out}", *more)
    return sorted(file.name.partition("-")[0] for file in out.glob("*.apk"))


def size(options: list[str], *modules: str) -> int:
    """What is downloaded, in bytes: at the install, or with these modules alone."""
    more = [f"--modules={','.join(modules)}"] if modules else []
    header, line = bundletool("get-size", "total", *options, *more).split()
    least, most = line.split(",")
    assert (header, least) == ("MIN,MAX", most)
    return int(least)


def test_each_expert_is_a_module_that_comes_on_demand(made):
    with zipfile.ZipFile(made / "app.aab") as archive:
        modules = {name.partition("/")[0] for name in archive.namelist() if "/manifest/" in name}
    assert modules == {"base", "bundle", *EXPERTS}
    for module in ("bundle", *EXPERTS):
        text = bundletool("dump", "manifest", f"--bundle={made / 'app.aab'}", f"--module={module}")
        root = ElementTree.fromstring(text)
        assert root.attrib == {"package": "org.edgemoe.test", "split": module}
        (delivery,) = root.findall(".//{*}delivery/*")
        assert delivery.tag.rpartition("}")[2] == ("install-time" if module == "bundle" else "on-demand")
    bundletool("validate", f"--bundle={made / 'app.aab'}")


def test_each_pack_is_an_apk_of_its_own(made):
    with zipfile.ZipFile(made / "app.apks") as archive:
        names = {name for name in archive.namelist() if name.endswith(".apk")}
    slices = {name for name in names if name.startswith("asset-slices/")}
    assert slices == {f"asset-slices/{pack}-master.apk" for pack in ("bundle", *EXPERTS)}
    assert {name.partition("/")[0] for name in names - slices} == {"splits"}  # no APK for a phone that knows no packs


@phones
def test_experts_are_not_installed_with_the_app(phone, tmp_path, sdk):
    assert extracted(phone(sdk), tmp_path / "installed") == ["base", "bundle"]
    later = extracted(phone(sdk), tmp_path / "later", f"--modules={EXPERTS[1]}")
    assert later == sorted(["base", "bundle", EXPERTS[1]])


@phones
def test_what_is_downloaded_at_the_install_has_no_expert_in_it(phone, sdk):
    options = phone(sdk)
    installed, app = size(options), size(options, "base")
    later = [size(options, expert) - app for expert in EXPERTS]  # bundletool counts the app with each
    print(f"SDK {sdk}: {installed:,} bytes at the install, {app:,} of them the app alone; experts {later}")
    assert app < size(options, "bundle") == installed
    assert min(later) > 0
    assert size(options, "bundle", *EXPERTS) == installed + sum(later)


def test_laid_over_each_other_what_a_phone_gets_is_the_bundle(phone, tmp_path):
    """And nothing of it is compressed, so that a file can be mapped where it lies."""
    extracted(phone(NEWEST), tmp_path / "apks", f"--modules=bundle,{','.join(EXPERTS)}")
    for file in (tmp_path / "apks").glob("bundle*.apk"):
        with zipfile.ZipFile(file) as archive:
            files = [one for one in archive.infolist() if one.filename.startswith("assets/")]
            assert files
            assert {one.compress_type for one in files} == {zipfile.ZIP_STORED}
            archive.extractall(tmp_path / "phone", files)
    checks = verify(tmp_path / "phone/assets/bundle")
    assert all(one.passed for one in checks)


def test_the_same_packs_make_the_same_app_bundle(made, tmp_path):
    assert aab(made / "base.zip", made / "packs", "-o", tmp_path / "again.aab").returncode == 0
    assert (tmp_path / "again.aab").read_bytes() == (made / "app.aab").read_bytes()


def no_zip(folder: Path) -> None:
    (folder / "base.zip").write_bytes(b"no zip")


def no_manifest(folder: Path) -> None:
    with zipfile.ZipFile(folder / "base.zip", "w") as archive:
        archive.writestr("dex/classes.dex", b"")


def no_delivery(folder: Path) -> None:
    file = folder / f"packs/{EXPERTS[0]}/src/main/AndroidManifest.xml"
    file.write_text(file.read_text().replace("<dist:on-demand />", ""))


def a_bundle_of_its_own(folder: Path) -> None:
    with zipfile.ZipFile(folder / "base.zip", "a") as archive:
        archive.writestr("assets/bundle/manifest.json", "{}")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_zip, "base.zip' does not seem to be a valid ZIP file"),
        (no_manifest, "Module 'base' is missing mandatory file 'manifest/AndroidManifest.xml'"),
        (no_delivery, "must explicitly set its delivery options"),
        (a_bundle_of_its_own, "Both modules 'base' and 'bundle' contain asset entry 'assets/bundle/manifest.json'"),
    ],
)
def test_what_bundletool_does_not_take_is_one_line_and_no_file(made, tmp_path, spoil, words):
    folder = shutil.copytree(made, tmp_path / "spoiled")
    (folder / "app.aab").write_bytes(b"of before")
    spoil(folder)
    done = aab(folder / "base.zip", folder / "packs", "-o", folder / "app.aab")
    assert done.returncode == 1
    assert done.stderr.startswith("aab: error: bundletool build-bundle: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert (folder / "app.aab").read_bytes() == b"of before"
    assert visible(folder) == ["app.aab", "app.apks", "base.zip", "packs"]
