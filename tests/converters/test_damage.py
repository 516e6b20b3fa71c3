"""Converted parts that were damaged before the conversion was repeated are made anew; nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_moe import OutputError
from edge_moe.training.checkpoint import load_checkpoint, save_checkpoint
from edge_moe.verify import verify
from tests.converters.quick import BOTH, all_of
from tests.tiny import digest

SETS = ("litert/fp32", "litert/int8", "onnx/fp32", "onnx/int8")


@pytest.fixture
def parts(make, made_here):
    """What a conversion leaves that was stopped before its last part."""
    made_here.stop_before = "onnx/int8/expert_01"
    with pytest.raises(KeyboardInterrupt):
        make(**BOTH)
    made_here.stop_before = None
    return make.partial / "parts"


@pytest.fixture
def undisturbed(make, tmp_path):
    return _digests(make(out=tmp_path / "x", **BOTH))


def _digests(manifest):
    return {(one.backend, one.recipe.name, part): it.sha256 for one in manifest.sets for part, it in one.parts.items()}


def goes_on(make, made_here, undisturbed):
    """Repeat; return what was made."""
    made_here.calls.clear()
    assert _digests(make(**BOTH)) == undisturbed
    assert all(check.passed for check in verify(make.path))
    assert not make.partial.exists()
    return [name for call in made_here.calls for name in call]


DAMAGES = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "half of zeros": lambda whole: whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2),
    "another": lambda whole: b"x" * len(whole),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".npz"])
def test_a_damaged_file_is_made_anew(undisturbed, parts, make, made_here, caplog, suffix, damage):
    file = sorted(file for file in parts.iterdir() if file.suffix == suffix)[0]
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    caplog.set_level("INFO", "edge_moe.work")
    made = goes_on(make, made_here, undisturbed)
    (line,) = caplog.messages
    assert line.startswith(f"parts/{file.name} in {make.partial} has ")
    # What torch made of the fixed input is kept for each part: without it, none of that part is believed.
    of_the_part = 4 if suffix == ".npz" else 1
    assert len(made) - 1 in (of_the_part, of_the_part - 1)


def test_two_that_were_swapped(undisturbed, parts, make, made_here):
    one, two = sorted(file for file in parts.iterdir() if file.suffix == ".tflite")[:2]
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    assert len(goes_on(make, made_here, undisturbed)) == 3


def test_what_was_not_entered_is_not_done(undisturbed, parts, make, made_here):
    for entry in (parts / ".edge-moe").iterdir():
        entry.unlink()
    assert set(goes_on(make, made_here, undisturbed)) == set(all_of(*SETS))


def test_parts_of_another_checkpoint_stay(parts, make, own_checkpoint, tmp_path):
    save_checkpoint(tmp_path / "other", load_checkpoint(own_checkpoint))
    before = {file.name: digest(file) for file in parts.iterdir() if file.is_file()}
    for force in (False, True):
        words = r"bundle.partial holds an unfinished run of 'edge-moe convert' .*\(.*checkpoint.*\); .*: rm -r"
        with pytest.raises(OutputError, match=words):
            make(tmp_path / "other", force=force, **BOTH)
    assert {file.name: digest(file) for file in parts.iterdir() if file.is_file()} == before


def test_a_training_in_its_place_stays(make, tmp_path):
    from edge_moe.ledger import keep
    from edge_moe.work import making

    with making(tmp_path / "bundle", "train") as work:
        work.take_up({"seed": 0})
        keep(work.folder / "base.safetensors", b"hours")
    with pytest.raises(OutputError, match=r"an unfinished run of 'edge-moe train' \(base.safetensors\); repeat that"):
        make(force=True)
    assert Path(work.folder / "base.safetensors").read_bytes() == b"hours"
