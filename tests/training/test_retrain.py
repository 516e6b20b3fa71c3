"""One expert of a finished checkpoint trained again: it alone changes, on the images of the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_moe.checkpoint import read_config
from edge_moe.errors import CheckpointError, DataError, UsageError
from edge_moe.training.checkpoint import save_checkpoint
from edge_moe.training.run import retrain_expert
from edge_moe.training.untrained import new_untrained
from tests.training.conftest import (
    FILES,
    Recorder,
    contents,
    flip_a_byte,
    interrupt,
    noise,
    small_architecture,
    small_preprocessing,
)


def test_an_expert_alone(finished: Path, reference: Path) -> None:
    expert = finished / "expert_01.safetensors"
    others = {
        file: file.stat().st_mtime_ns
        for file in finished.iterdir()
        if file.stem.startswith(("base", "gate", "expert_00"))
    }
    shutil.copy(finished / "expert_00.safetensors", expert)  # fits, but is another
    (finished / ".keep").write_text("of the user")
    recorder = Recorder()
    config = retrain_expert(finished, 1, progress=recorder)
    assert [step for step in recorder.steps if step.startswith(("base", "gate", "expert"))] == ["expert 1"]
    assert contents(finished, ".keep") == contents(reference)
    assert (finished / ".keep").read_text() == "of the user"
    assert config == read_config(finished)
    assert {file: file.stat().st_mtime_ns for file in others} == others
    assert list(finished.parent.iterdir()) == [finished]
    expert.unlink()
    retrain_expert(finished, 1)
    assert contents(finished, ".keep") == contents(reference)


def test_an_expert_alone_beside_another_that_was_altered(finished: Path) -> None:
    """What is kept is what the checkpoint was finished with, which `train` has written down."""
    assert read_config(finished).parts.keys() == {file.removesuffix(".safetensors") for file in FILES} - {"config.json"}
    shutil.copy(finished / "expert_01.safetensors", finished / "expert_00.safetensors")
    before = contents(finished)
    with pytest.raises(CheckpointError, match=r"expert_00\.safetensors was altered since .*; put back the file"):
        retrain_expert(finished, 1)
    assert contents(finished) == before
    assert list(finished.parent.iterdir()) == [finished]


def test_an_expert_alone_goes_on_and_disturbs_no_other_run(
    finished: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished)
    unfinished = finished.with_name("c.partial")
    unfinished.mkdir()
    (unfinished / "base.safetensors").write_bytes(b"of another run")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("edge_moe.training.experts.check_finite", interrupt)
        retrain_expert(finished, 0)
    assert contents(finished) == before
    recorder = Recorder()
    retrain_expert(finished, 0, data=os.path.relpath(folder), progress=recorder)
    assert recorder.steps["expert 0"] == [2, 2, 0]
    assert contents(finished) == before
    assert contents(unfinished) == {"base.safetensors": b"of another run"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: noise(d / "train/cat/05b.png"), "40 training images, not 39"),
        (lambda d: (d / "val/eel/00.png").unlink(), "14 validation images, not 15"),
        (lambda d: flip_a_byte(d / "train/dog/03.png"), r"as many training images \(39\), with other names, classes"),
    ],
)
def test_an_expert_alone_is_trained_on_the_images_of_the_others(
    finished: Path, data: Path, change: Callable[[Path], Any], words: str
) -> None:
    before = contents(finished)
    retrain_expert(finished, 0, data=str(data))  # elsewhere, but the same
    assert set(contents(finished)) == set(before)
    before = contents(finished)
    change(data)
    with pytest.raises(DataError, match=rf"data is not what .*c was trained on: found {words}.*train a new checkpoint"):
        retrain_expert(finished, 0, data=str(data))
    assert contents(finished) == before
    assert sorted(path.name for path in finished.parent.iterdir()) == ["c", "data"]


def test_a_checkpoint_that_does_not_know_its_images_takes_any(finished: Path, data: Path) -> None:
    config = msgspec.json.decode((finished / "config.json").read_bytes())
    assert set(config.pop("trained_on")) == {"train_images", "train_sha256", "val_images", "val_sha256"}
    (finished / "config.json").write_bytes(msgspec.json.encode(config))
    noise(data / "train/cat/05b.png")
    assert retrain_expert(finished, 0, data=str(data)).trained_on is None


@pytest.mark.parametrize("index", [-1, 2])
def test_there_must_be_such_an_expert(finished: Path, index: int) -> None:
    with pytest.raises(UsageError, match=f"no expert {index}; expected 0 to 1"):
        retrain_expert(finished, index)


def test_only_what_edge_moe_trained_can_be_trained_again(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", new_untrained(small_architecture(), 2, small_preprocessing(), seed=0))
    with pytest.raises(CheckpointError, match="was untrained, not trained by edge-moe"):
        retrain_expert(tmp_path / "c", 0)
    with pytest.raises(CheckpointError, match="expected a checkpoint"):
        retrain_expert(tmp_path / "gone", 0)
