"""Asset packs of a bundle: laid over each other they are one, and another expert is another pack."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from edge_moe import Bundle, BundleError, IntegrityError, OutputError, Runtime, UsageError, play
from edge_moe.bundle import MANIFEST, OPERATING, sha256
from edge_moe.digest import answers_digest
from edge_moe.npz import pack as npz_of
from edge_moe.npz import unpack
from edge_moe.play import PACKS, Packs, lay_out
from edge_moe.verify import verify
from tests.test_bundle import flip
from tests.tiny import tree

DIST = "{http://schemas.android.com/apk/distribution}"
ASSETS = "src/main/assets"


def laid(out: Path, over: Path, name: str = "bundle") -> Path:
    """Lay the assets of all packs in `out` over each other, as a phone has them; return the bundle."""
    for pack in sorted(out.iterdir()):
        if pack.is_dir():
            shutil.copytree(pack / ASSETS, over, dirs_exist_ok=True)
    return over / name


def packed(bundle: Path, out: Path, *sets: str, **options: object) -> Packs:
    """Pack some sets of a bundle, and return packs.json."""
    opened = Bundle(bundle)
    there = {str(one.key): one for one in opened.manifest.sets}
    lay_out(opened, out, [there[name] for name in sets], **options)
    return msgspec.json.decode((out / PACKS).read_bytes(), type=Packs)


# --- what is in the packs ---


def test_laid_over_each_other_they_are_a_bundle_of_the_default_set(own_bundle, tmp_path):
    about = packed(own_bundle, tmp_path / "packs")
    whole, part = Bundle(own_bundle), Bundle(laid(tmp_path / "packs", tmp_path / "phone"))
    checks = verify(part)
    assert all(one.passed for one in checks)
    assert {one.set for one in checks} == {"bundle", "litert/int8"}
    assert {str(one.key): answers_digest(part.manifest, one) for one in part.manifest.sets} == about.sets
    assert part.operating_sets == {"litert/int8": whole.operating_sets["litert/int8"]}
    assert {path.name for path in (tmp_path / "phone/bundle").iterdir()} == {MANIFEST, OPERATING, "golden", "litert"}
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    with Runtime(whole, tau=0) as one, Runtime(part, tau=0) as other:
        assert one.predict(image).probability == other.predict(image).probability


def test_of_several_sets_the_first_that_is_named_is_the_default(own_bundle, tmp_path):
    packed(own_bundle, tmp_path / "packs", "onnx/int8", "litert/int8")
    bundle = Bundle(laid(tmp_path / "packs", tmp_path / "phone"))
    assert [str(one.key) for one in bundle.manifest.sets] == ["onnx/int8", "litert/int8"]
    assert all(one.passed for one in verify(bundle))
    names = {path.name for path in (tmp_path / "packs/bundle_expert_01" / ASSETS).rglob("*") if path.is_file()}
    assert names == {"expert_01.tflite", "expert_01.onnx"}


def test_a_default_that_was_chosen_later_goes_along(make_bundle, tmp_path):
    def chosen(raw):
        raw["default_set"] = "fake/fp32"

    about = packed(make_bundle(recipes=("int8", "fp32"), operate=chosen), tmp_path / "packs")
    assert list(about.sets) == ["fake/fp32"]


@pytest.mark.parametrize("experts", [0, 1, 3])
def test_one_pack_for_the_install_and_one_for_each_expert(make_bundle, tmp_path, fake_backend, experts):
    out = tmp_path / "packs"
    about = packed(make_bundle(experts=experts), out)
    names = ["bundle", *(f"bundle_expert_{k:02d}" for k in range(experts))]
    assert [one.name for one in about.packs] == names
    assert [one.delivery for one in about.packs] == ["install-time"] + ["on-demand"] * experts
    first = {"golden/00.png", "golden/fake-int8.npz", "golden/inputs.npz", "golden/vectors.json", MANIFEST, OPERATING}
    first |= {f"fake/int8/{part}.npz" for part in ("base", "gate")[: 1 + (experts > 0)]}
    wanted = [first, *({f"fake/int8/expert_{k:02d}.npz"} for k in range(experts))]
    for pack, files in zip(about.packs, wanted, strict=True):
        assets = out / pack.name / ASSETS / "bundle"
        there = {
            path.relative_to(assets).as_posix(): path.stat().st_size for path in assets.rglob("*") if path.is_file()
        }
        assert there.keys() == files == set(pack.files)
        assert sum(there.values()) == pack.bytes
        assert {path.name for path in (out / pack.name).iterdir()} == {"build.gradle.kts", "src"}
    assert {path.name for path in out.iterdir()} == {*names, "README.txt", PACKS}
    assert all(one.passed for one in verify(laid(out, tmp_path / "phone"), backend=fake_backend))


def test_what_gradle_and_bundletool_are_told(make_bundle, tmp_path):
    packed(make_bundle(experts=1), tmp_path / "packs")
    for pack, delivery in (("bundle", "install-time"), ("bundle_expert_00", "on-demand")):
        gradle = (tmp_path / "packs" / pack / "build.gradle.kts").read_text()
        assert re.findall(r'"(.*)"', gradle) == ["com.android.asset-pack", pack, delivery]
        root = ElementTree.parse(tmp_path / "packs" / pack / "src/main/AndroidManifest.xml").getroot()
        (module,) = root
        assert (root.tag, root.attrib) == ("manifest", {"split": pack})
        assert (module.tag, module.attrib) == (f"{DIST}module", {f"{DIST}type": "asset-pack"})
        assert [one.tag for one in module] == [f"{DIST}fusing", f"{DIST}delivery"]
        assert module[0].attrib == {f"{DIST}include": "true"}
        assert [one.tag for one in module[1]] == [f"{DIST}{delivery}"]


def test_the_readme_names_the_packs_that_are_there(make_bundle, tmp_path):
    packed(make_bundle(experts=2), tmp_path / "two")
    text = (tmp_path / "two/README.txt").read_text()
    assert re.findall(r'^ *"(:.*)",$', text, re.MULTILINE) == [
        ":bundle",
        ":bundle_expert_00",
        ":bundle_expert_01",
    ]
    packed(make_bundle("plain", experts=0), tmp_path / "none", name="birds")
    text = (tmp_path / "none/README.txt").read_text()
    assert re.findall(r'^ *"(:.*)",$', text, re.MULTILINE) == [":birds"]
    assert "expert" not in text
    assert "gate" not in text


def test_a_name_of_its_own(make_bundle, tmp_path, fake_backend):
    about = packed(make_bundle(experts=1), tmp_path / "packs", name="Birds2")
    assert ([one.name for one in about.packs], about.assets) == (["Birds2", "Birds2_expert_00"], "Birds2")
    assert all(
        one.passed for one in verify(laid(tmp_path / "packs", tmp_path / "phone", "Birds2"), backend=fake_backend)
    )


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "_a", "ä", "a b", "a/b", "base"])
def test_a_name_that_play_does_not_take(make_bundle, tmp_path, name):
    with pytest.raises(UsageError, match=r"is no name of an asset pack; expected a letter, then letters, digits and"):
        packed(make_bundle(), tmp_path / "packs", name=name)
    assert not (tmp_path / "packs").exists()


def with_an_image_of_its_own(bundle: Path) -> Path:
    """Let the second set of a bundle have an image that the first does not use."""
    raw = json.loads((bundle / MANIFEST).read_text())

    def replace(artifact, data):
        (bundle / artifact["file"]).write_bytes(data)
        artifact |= {"sha256": sha256(data), "bytes": len(data)}

    golden = raw["sets"][1]["golden"]
    tensors = unpack((bundle / golden["file"]["file"]).read_bytes(), "")
    replace(golden["file"], npz_of({name.replace("00/", "01/"): one for name, one in tensors.items()}))
    golden["samples"][0]["input"] = "01"
    shared = raw["golden"]
    image = (bundle / "golden/00.png").read_bytes()
    shared["images"]["01"] = {"file": "golden/01.png"}
    replace(shared["images"]["01"], image)
    inputs = unpack((bundle / shared["tensors"]["file"]).read_bytes(), "")
    replace(shared["tensors"], npz_of(inputs | {"01": inputs["00"]}))
    (bundle / MANIFEST).write_text(json.dumps(raw))
    return bundle


@pytest.mark.parametrize(("sets", "images"), [(["int8"], ["00"]), (["fp32"], ["01"]), (["fp32", "int8"], ["00", "01"])])
def test_golden_images_of_other_sets_stay_at_home(make_bundle, tmp_path, fake_backend, sets, images):
    bundle = with_an_image_of_its_own(make_bundle(recipes=("int8", "fp32")))
    packed(bundle, tmp_path / "packs", *(f"fake/{one}" for one in sets))
    part = Bundle(laid(tmp_path / "packs", tmp_path / "phone"))
    assert list(part.golden_inputs()) == list(part.manifest.golden.images) == images
    assert sorted(path.stem for path in part.path.glob("golden/*.png")) == images
    assert all(one.passed for one in verify(part, backend=fake_backend))


# --- another expert ---


def one_more(bundle: Path, like: Path, experts: int) -> Path:
    """Let `bundle` be what a conversion makes of the network of `like` with more experts: the old ones are the same."""
    raw, old = (json.loads((path / MANIFEST).read_text()) for path in (bundle, like))
    for name, part in old["sets"][0]["parts"].items():
        if name != "gate":
            shutil.copy(like / part["file"], bundle / part["file"])
            raw["sets"][0]["parts"][name] |= {key: part[key] for key in ("sha256", "bytes")}
    (bundle / MANIFEST).write_text(json.dumps(raw))
    defaults = json.loads((bundle / OPERATING).read_text())
    manifest = msgspec.convert(raw, type(Bundle(like).manifest))
    defaults["sets"]["fake/int8"]["digest"] = answers_digest(manifest, manifest.sets[0])
    (bundle / OPERATING).write_text(json.dumps(defaults))
    assert len(raw["sets"][0]["parts"]) == experts + 2
    return bundle


def test_another_expert_is_another_pack_and_of_the_others_that_of_the_install_alone_changes(make_bundle, tmp_path):
    three = make_bundle("three", experts=3)
    four = one_more(make_bundle("four", experts=4), three, 4)
    for bundle in (three, four):
        packed(bundle, tmp_path / f"{bundle.name}_packs")
    before, after = (tree(tmp_path / f"{name}_packs") for name in ("three", "four"))
    changed = {name for name in before if before[name] != after.get(name)}
    install = f"bundle/{ASSETS}/bundle"
    other = ("fake/int8/gate.npz", "golden/00.png", "golden/fake-int8.npz", "golden/inputs.npz", "golden/vectors.json")
    assert changed <= {"README.txt", PACKS, *(f"{install}/{name}" for name in (MANIFEST, OPERATING, *other))}
    assert {f"{install}/{name}" for name in (MANIFEST, OPERATING, "fake/int8/gate.npz")} <= changed
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"bundle_expert_03"}


def test_the_same_again_is_the_same_to_the_last_byte(own_bundle, tmp_path):
    for name in ("one", "two"):
        packed(own_bundle, tmp_path / name)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


# --- what Play takes ---


def test_more_packs_than_play_takes(make_bundle, tmp_path):
    bundle = make_bundle("few", experts=99)
    assert len(packed(bundle, tmp_path / "packs").packs) == 100
    with pytest.raises(BundleError, match=r"many has 100 experts, .* make 101 asset packs; Google Play takes 100"):
        packed(make_bundle("many", experts=100), tmp_path / "more")
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize("other", ["base", "expert_00"])
def test_one_file_for_two_parts(make_bundle, tmp_path, other):
    """No conversion makes that, and bundletool takes no app of it."""

    def share(raw):
        parts = raw["sets"][0]["parts"]
        parts["expert_01"] |= {key: parts[other][key] for key in ("file", "sha256", "bytes")}

    with pytest.raises(BundleError, match=rf"has the file fake/int8/{other}\.npz for two parts"):
        packed(make_bundle(experts=2, edit=share), tmp_path / "packs")


def test_what_may_be_too_large_for_play_is_told(make_bundle, tmp_path, monkeypatch, caplog):
    bundle = make_bundle(experts=2)
    with caplog.at_level(logging.INFO, "edge_moe"):
        packs = packed(bundle, tmp_path / "fits").packs
        assert caplog.messages == []
        monkeypatch.setattr(play, "_GB", 1000)
        monkeypatch.setattr(play, "_MOST_PACK_BYTES", packs[1].bytes)
        monkeypatch.setattr(play, "_MOST_BYTES", {"install-time": packs[0].bytes, "on-demand": packs[1].bytes})
        packed(bundle, tmp_path / "told")
    assert [text.split(" GB")[0].rpartition(" ")[0] for text in caplog.messages] == [
        "the pack bundle has",
        "all that is delivered on-demand has",
    ]
    assert all("ask 'bundletool get-size' before you upload" in text for text in caplog.messages)


# --- whole or not at all ---

DAMAGED = ("fake/int8/base", "fake/int8/gate", "fake/int8/expert_01", "golden/fake-int8", "golden/inputs")


@pytest.mark.parametrize("file", [*(f"{name}.npz" for name in DAMAGED), "golden/00.png", "golden/vectors.json"])
def test_a_damaged_bundle_is_refused_by_the_name_of_the_file(make_bundle, tmp_path, file):
    bundle = make_bundle()
    flip(bundle / file)
    with pytest.raises(IntegrityError, match=rf"bundle/{re.escape(file)} was altered: expected sha256"):
        packed(bundle, tmp_path / "packs")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    (bundle / file).unlink()
    with pytest.raises(IntegrityError, match=rf"bundle/{re.escape(file)} should have .* but it does not exist"):
        packed(bundle, tmp_path / "packs")


def test_what_is_there_is_replaced_by_force_alone(make_bundle, tmp_path):
    bundle, out = make_bundle(experts=2), tmp_path / "packs"
    packed(make_bundle("more", experts=3), out)
    before = tree(out)
    with pytest.raises(OutputError, match=r"packs exists already; choose another target or add --force"):
        packed(bundle, out)
    assert tree(out) == before
    packed(bundle, out, force=True)
    assert not (out / "bundle_expert_02").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "more", "packs"]


@pytest.mark.parametrize("file", ["notes.txt", "bundle/src/main/assets/mine.bin", "bundle/local.properties"])
def test_what_is_somebodys_stays(make_bundle, tmp_path, file):
    bundle, out = make_bundle(), tmp_path / "packs"
    packed(bundle, out)
    (out / file).write_text("mine")
    before = tree(out)
    with pytest.raises(OutputError, match=rf"did not write \({re.escape(file)}\); move them"):
        packed(bundle, out, force=True)
    assert tree(out) == before


def test_a_readme_beside_a_bundle_is_somebodys(make_bundle, tmp_path):
    """What packs have is edge-moe's among packs, and nowhere else."""
    bundle, other = make_bundle(), make_bundle("other")
    (other / "README.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"did not write \(README.txt\)"):
        packed(bundle, other, force=True)


def test_the_bundle_itself_is_no_target(make_bundle):
    bundle = make_bundle()
    before = tree(bundle)
    with pytest.raises(OutputError, match=r"is, or contains, .*bundle, which is read"):
        packed(bundle, bundle, force=True)
    assert tree(bundle) == before


@pytest.mark.parametrize("last", range(5))
def test_a_stop_leaves_what_was_there(make_bundle, tmp_path, monkeypatch, last):
    """Wherever it comes."""
    bundle, out = make_bundle(experts=1), tmp_path / "packs"
    packed(make_bundle("before", experts=2), out)
    before, write, written = tree(tmp_path), play.write_file, []

    def stopped(file, data):
        if len(written) == 3 * last:
            raise KeyboardInterrupt
        written.append(file)
        write(file, data)

    monkeypatch.setattr(play, "write_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        packed(bundle, out, force=True)
    assert len(written) == 3 * last
    assert tree(tmp_path) == before
