"""The whole training: what it writes, that it repeats, and that it survives being killed at any place."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import nn

from edge_moe.checkpoint import read_config
from edge_moe.errors import DataError, OutputError, UsageError
from edge_moe.nn import Architecture, Base, SplitBase, base_builder
from edge_moe.output import partial_path
from edge_moe.training import run as module
from edge_moe.training.checkpoint import load_checkpoint, save_checkpoint
from edge_moe.training.plan import TrainingPlan
from edge_moe.training.run import retrain_expert, train
from edge_moe.training.untrained import new_untrained
from edge_moe.work import Work
from tests.training.conftest import (
    FILES,
    SIZE,
    TWO,
    Recorder,
    contents,
    flip_a_byte,
    interrupt,
    noise,
    small_architecture,
    small_plan,
    small_preprocessing,
    write_images,
)


def test_a_run_leaves_a_checkpoint_and_nothing_else(reference: Path, folder: Path) -> None:
    assert set(contents(reference.parent)) == {f"checkpoint/{name}" for name in FILES}
    loaded = load_checkpoint(reference)
    plan = small_plan(folder, **TWO)
    assert loaded.config.training == plan.config
    assert (loaded.config.architecture, loaded.config.labels) == (plan.architecture, plan.labels)
    assert loaded.config.origin == "trained"
    metrics = loaded.config.metrics
    assert metrics["validation_images"] == 15
    assert 0 <= metrics["gate_agreement_train"] <= 1
    assert sum(metrics["expert_shares"]) == pytest.approx(1)
    assert {"torch", "edge-moe", "scikit-learn"} <= set(loaded.config.tools)


def test_the_same_seed_makes_the_same_bytes(reference: Path, folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what was drawn before does not matter
    train(small_plan(folder, **TWO), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(reference)
    train(small_plan(folder, **TWO, seed=1), tmp_path / "other")
    other, same = contents(tmp_path / "other"), contents(reference)
    assert set(other) == set(same)
    assert all(other[name] != same[name] for name in FILES)


def test_experts_in_processes_of_their_own_are_the_same(reference: Path, folder: Path, tmp_path: Path) -> None:
    # Equal because every process, here as in `reference`, has one thread.
    recorder = Recorder()
    train(small_plan(folder, **TWO), tmp_path / "c", jobs=2, progress=recorder)
    assert contents(tmp_path / "c") == contents(reference)
    assert recorder.steps["expert 0"] == recorder.steps["expert 1"] == [2, 0, 2]


def test_a_run_killed_between_gate_and_experts_goes_on_in_processes(
    reference: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then base, gate and embeddings are on disk, and nothing has asked for the images."""
    plan = small_plan(folder, **TWO)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("edge_moe.training.run.train_expert", interrupt)
        train(plan, tmp_path / "c")
    recorder = Recorder()
    train(plan, tmp_path / "c", jobs=2, progress=recorder)
    assert not {"base", "gate", "embeddings"} & recorder.steps.keys()
    assert contents(tmp_path / "c") == contents(reference)


class Killer(Recorder):
    """Kills its own process, as SIGKILL does, when the step `name` has advanced so many times (0: when it starts)."""

    def __init__(self, name: str, advances: int) -> None:
        super().__init__()
        self.name, self.advances = name, advances

    def start(self, name: str, total: int, done: int = 0) -> None:
        super().start(name, total, done)
        self._strike(name)

    def advance(self, name: str, note: str = "") -> None:
        super().advance(name, note)
        self._strike(name)

    def _strike(self, name: str) -> None:
        if name == self.name and self.steps[name][2] == self.advances:
            os.kill(os.getpid(), signal.SIGKILL)


def _train_and_be_killed(folder: str, out: str, name: str, advances: str) -> None:
    torch.set_num_threads(1)
    train(small_plan(Path(folder), **TWO), Path(out), progress=Killer(name, int(advances)))


@pytest.mark.parametrize(
    ("name", "advances", "left", "redone"),
    [
        # The killer strikes before the state of that epoch is written.
        ("base", 2, {"base.state"}, {"base": [2, 1, 1], "expert 0": [2, 0, 2], "expert 1": [2, 0, 2]}),
        (
            "expert 1",
            2,
            {"base.safetensors", "gate.safetensors", "expert_00.safetensors", "expert_01.state"},
            {"expert 1": [2, 1, 1]},
        ),
    ],
)
def test_a_killed_run_goes_on_where_it_stood(
    reference: Path, folder: Path, tmp_path: Path, name: str, advances: int, left: set[str], redone: dict[str, Any]
) -> None:
    out, partial = tmp_path / "c", tmp_path / "c.partial"
    code = f"from {__name__} import _train_and_be_killed as f; import sys; f(*sys.argv[1:])"
    killed = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(out), name, str(advances)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    assert {file for file in contents(partial) if file.endswith((".safetensors", ".state"))} == left
    (partial / ".base.safetensors.4711").write_bytes(b"half a file")  # as a kill in the middle of a write leaves it
    times = {file: (partial / file).stat().st_mtime_ns for file in left if file.endswith(".safetensors")}

    recorder = Recorder()
    train(small_plan(folder, **TWO), out, progress=recorder)
    assert {step: recorder.steps[step] for step in recorder.steps if step.startswith(("base", "expert"))} == redone
    assert contents(out) == contents(reference)
    assert {file: (out / file).stat().st_mtime_ns for file in times} == times
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("force", [False, True])
def test_a_run_interrupted_at_its_very_end_only_publishes(
    reference: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    out = tmp_path / "c"
    if force:  # the run is to replace an older checkpoint, and is repeated as it was typed
        save_checkpoint(out, new_untrained(small_architecture(), 1, small_preprocessing(), seed=0))
    before = contents(out)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Work, "publish", interrupt)
        train(small_plan(folder, **TWO), out, force=force)
    assert contents(out) == before
    recorder = Recorder()
    train(small_plan(folder, **TWO), out, force=force, progress=recorder)
    assert list(recorder.steps) == ["validation"]
    assert contents(out) == contents(reference)


def test_a_lost_process_ends_the_run_but_not_its_work(reference: Path, folder: Path, tmp_path: Path) -> None:
    class Assassin(Recorder):
        def advance(self, name: str, note: str = "") -> None:
            if name == "expert 1":
                for process in psutil.Process().children():
                    process.kill()

    plan = small_plan(folder, **TWO)
    with pytest.raises(UsageError, match=r"ended from outside.*fewer --jobs"):
        train(plan, tmp_path / "c", jobs=2, progress=Assassin())
    assert psutil.Process().children() == []
    recorder = Recorder()
    train(plan, tmp_path / "c", progress=recorder)
    assert "base" not in recorder.steps
    assert contents(tmp_path / "c") == contents(reference)


# --- folders of other runs ---


def _interrupted(plan: TrainingPlan, out: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> Path:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, at, interrupt)
        train(plan, out)
    return partial_path(out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, r"\(seed was 0, now 3\)"),
        ({"experts": 3}, r"\(experts was 2, now 3\)"),
        ({"finetune": "head"}, r"\(finetune was all, now head\)"),
    ],
)
def test_the_work_of_another_plan_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    partial = _interrupted(small_plan(folder), tmp_path / "c", monkeypatch, "embed")
    before = contents(partial)
    assert "base.safetensors" in before
    with pytest.raises(
        OutputError, match=rf"c\.partial holds an unfinished run .*{message}; repeat .*: rm -r .*c\.partial$"
    ):
        train(small_plan(folder, **change), tmp_path / "c", force=True)  # which means the target, and nothing else
    assert contents(partial) == before


def test_a_run_without_work_leaves_nothing_and_a_killed_one_is_in_nobodys_way(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = _interrupted(small_plan(folder), tmp_path / "b", monkeypatch, "train_base")
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch:
        patch.setattr(Work, "close", lambda self: self._lock.release())  # as a kill leaves it
        _interrupted(small_plan(folder), tmp_path / "b", monkeypatch, "train_base")
    assert list(partial.iterdir())
    recorder = Recorder()
    train(small_plan(folder, seed=3), tmp_path / "b", progress=recorder)
    assert recorder.steps["base"] == [1, 0, 1]
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_the_work_of_another_version_is_not_thrown_away(folder: Path, tmp_path: Path) -> None:
    partial = tmp_path / "c.partial"
    partial.mkdir()
    (partial / "plan.json").write_text('{"colour": "red"}')
    (partial / "base.safetensors").write_bytes(b"weeks of work")
    with pytest.raises(
        OutputError, match=r"an unfinished training of an older edge-moe.*finish it with that version, .*: rm -r"
    ):
        train(small_plan(folder), tmp_path / "c", force=True)
    assert (partial / "base.safetensors").read_bytes() == b"weeks of work"


# --- other images ---


@pytest.mark.parametrize("at", ["embed", "train_expert"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: noise(d / "train/cat/05b.png"), "train/cat/05b.png was added"),
        (lambda d: (d / "train/dog/12.png").unlink(), "train/dog/12.png was removed"),
        (lambda d: flip_a_byte(d / "train/dog/03.png"), "train/dog/03.png has other contents"),
        (lambda d: (d / "val/eel/00.png").unlink(), "val/eel/00.png was removed"),
        (
            lambda d: (d / "train/cat/00.png").rename(d / "train/eel/cat.png"),
            "train/eel/cat.png was added, and 1 more",
        ),
    ],
)
def test_an_unfinished_run_goes_on_with_its_own_images_or_not_at_all(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, change: Callable[[Path], Any], words: str
) -> None:
    kept = Path(shutil.copytree(data, tmp_path / "kept"))
    partial = _interrupted(small_plan(data), tmp_path / "c", monkeypatch, at)
    before = contents(partial)
    change(data)
    with pytest.raises(
        OutputError, match=rf"on other images \({words}\); bring the images back .* to go on, .*: rm -r .*c\.partial$"
    ):
        train(small_plan(data), tmp_path / "c")
    assert contents(partial) == before

    shutil.rmtree(data)
    shutil.copytree(kept, data)  # other times of the files, the same files
    recorder = Recorder()
    train(small_plan(data), tmp_path / "c", progress=recorder)
    assert "base" not in recorder.steps


def test_without_the_folder_it_starts_over_on_the_images_that_are_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(_interrupted(small_plan(data), tmp_path / "c", monkeypatch, "train_expert"))
    noise(data / "train/cat/zz.png")
    recorder = Recorder()
    config = train(small_plan(data), tmp_path / "c", progress=recorder)
    assert recorder.steps["base"] == [1, 0, 1]
    assert config.trained_on is not None
    assert (config.trained_on.train_images, config.trained_on.val_images) == (40, 15)


@pytest.mark.parametrize("record", [None, b"", b'{"train": [', b"[]"])
def test_a_run_without_a_record_of_its_images_knows_whether_they_are_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: bytes | None
) -> None:
    """Their digest is part of the plan."""
    partial = _interrupted(small_plan(data), tmp_path / "c", monkeypatch, "embed")
    file = partial / ".edge-moe/data.json"
    whole = file.read_bytes()
    file.unlink() if record is None else file.write_bytes(record)
    (data / "train/dog/12.png").rename(tmp_path / "away.png")
    with pytest.raises(OutputError, match=r"on other images \(which ones cannot be told: .*data\.json is damaged\)"):
        train(small_plan(data), tmp_path / "c")
    (tmp_path / "away.png").rename(data / "train/dog/12.png")
    _interrupted(small_plan(data), tmp_path / "c", monkeypatch, "embed")
    assert file.read_bytes() == whole


def test_processes_take_the_list_of_images_that_the_run_has(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that comes while the base is trained moves none."""
    train(small_plan(data), tmp_path / "undisturbed")

    def here(start: Any, arguments: Any, job: Any, indices: Any, jobs: int, progress: Any) -> None:
        noise(data / "train/cat/05b.png")
        start(*pickle.loads(pickle.dumps(arguments)), progress)
        for index in indices:
            job(index)

    monkeypatch.setattr(module, "in_processes", here)
    train(small_plan(data), tmp_path / "c", jobs=2)
    assert contents(tmp_path / "c") == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[:-9], lambda whole: b"\x93NUMPY" + b"\0" * 99]
)
def test_damaged_embeddings_are_made_again(
    reference: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    partial = _interrupted(small_plan(folder, **TWO), tmp_path / "c", monkeypatch, "train_expert")
    file = partial / "embeddings.npy"
    file.write_bytes(damage(file.read_bytes()))
    recorder = Recorder()
    train(small_plan(folder, **TWO), tmp_path / "c", progress=recorder)
    assert "embeddings" in recorder.steps
    assert contents(tmp_path / "c") == contents(reference)


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[:-9], lambda whole: whole[: len(whole) // 2], lambda _: b"hello"]
)
def test_a_damaged_state_is_made_anew(
    reference: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("edge_moe.training.experts.check_finite", interrupt)
        train(small_plan(folder, **TWO), tmp_path / "c")
    state = tmp_path / "c.partial" / "expert_00.state"
    whole = state.read_bytes()
    state.write_bytes(damage(whole))
    caplog.set_level("INFO", "edge_moe")
    recorder = Recorder()
    train(small_plan(folder, **TWO), tmp_path / "c", progress=recorder)
    assert "base" not in recorder.steps
    assert recorder.steps["expert 0"] == [2, 0, 2]
    assert contents(tmp_path / "c") == contents(reference)
    (line,) = (record.getMessage() for record in caplog.records if "state" in record.getMessage())
    assert line.startswith(f"expert_00.state in {tmp_path / 'c.partial'} has ")
    assert line.endswith(": it is made anew")


# --- data and settings at the edge ---


def test_one_expert_and_grey_images(tmp_path: Path) -> None:
    write_images(tmp_path / "d", ("dark", "light"), {"train": 5, "val": 2}, mode="L")
    config = train(small_plan(tmp_path / "d", experts=1, labels=("dark", "light")), tmp_path / "c")
    assert config.metrics["expert_shares"] == [1]
    load_checkpoint(tmp_path / "c")


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    """It would be right about all images; a folder around the class folders looks like one."""
    write_images(tmp_path / "d", ("images",), {"train": 5, "val": 2})
    with pytest.raises(DataError, match=r"d/train has 1 class, 'images'; expected at least 2, each a folder of its im"):
        train(small_plan(tmp_path / "d", experts=1, labels=("images",)), tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_class_without_validation_images_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / "d", ("dark", "light", "red"), {"train": 5, "val": 2})
    shutil.rmtree(tmp_path / "d" / "val" / "light")
    with caplog.at_level(logging.INFO, "edge_moe"):
        train(small_plan(tmp_path / "d", experts=0, labels=("dark", "light", "red")), tmp_path / "c")
    assert f"{tmp_path}/d/val has no image of the class 'light': no accuracy counts it" in caplog.messages


def _same_images(root: Path) -> None:
    for split in ("train", "val"):
        for file in (root / split).rglob("*.png"):
            Image.fromarray(np.full((SIZE, SIZE, 3), 128, np.uint8)).save(file)


@pytest.mark.parametrize(
    ("counts", "edit", "options", "error", "message"),
    [
        ({"train": 2}, None, {}, DataError, "no subfolder 'val'"),
        (
            {"train": 1, "val": 1},
            None,
            {"experts": 4},
            UsageError,
            "4 experts need at least as many training images; found 3",
        ),
        (
            {"train": 2, "val": 1},
            None,
            {"labels": ("cat", "dog")},
            DataError,
            "3 classes that are not those of the run",
        ),
        ({"train": 2, "val": 1}, None, {"batch_size": 1}, UsageError, "expected at least 2"),
        ({"train": 2, "val": 1}, lambda d: (d / "val" / "fox").mkdir(), {}, DataError, "fox has no images"),
        ({"train": 2, "val": 1}, lambda d: (d / "val" / "eel").rename(d / "val" / "fox"), {}, DataError, "class 'fox'"),
        (
            {"train": 4, "val": 1},
            _same_images,
            {"augment": "none", "learning_rate": 1e-8},
            UsageError,
            "2 experts .* only 1 different embeddings",
        ),
        ({"train": 4, "val": 1}, None, {"learning_rate": 1e30, "epochs": 4}, UsageError, "lower the learning rate"),
    ],
)
def test_what_cannot_be_trained_is_said(
    tmp_path: Path, counts: Any, edit: Callable[[Path], Any], options: Any, error: type[Exception], message: str
) -> None:
    data = write_images(tmp_path / "d", ("cat", "dog", "eel"), counts)
    if edit:
        edit(data)
    with pytest.raises(error, match=message):
        train(small_plan(data, **options), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_arguments_are_checked_before_anything_is_made(folder: Path, tmp_path: Path) -> None:
    plan = small_plan(folder)
    with pytest.raises(UsageError, match="jobs is 0"):
        train(plan, tmp_path / "c", jobs=0)
    with pytest.raises(UsageError, match="takes 16 pixels, the preprocessing gives 24"):
        train(
            msgspec.structs.replace(plan, preprocessing=msgspec.structs.replace(plan.preprocessing, image_size=24)),
            tmp_path / "c",
        )
    with pytest.raises(DataError, match="does not exist"):
        train(small_plan(tmp_path / "gone"), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "c").mkdir()
    with pytest.raises(OutputError, match="--force"):
        train(plan, tmp_path / "c")


@base_builder
def forgetful(architecture: Architecture) -> Base:
    """A split without its ReLU."""
    modules = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return SplitBase(nn.Sequential(*modules, nn.Linear(4, architecture.classes)), ["0"], ["2"], "5")


def test_a_network_that_loses_a_part_is_refused_before_anything_is_made(folder: Path, tmp_path: Path) -> None:
    architecture = msgspec.structs.replace(small_architecture(), base=f"{__name__}:forgetful")
    with pytest.raises(UsageError, match="between 0 and 2 the network runs 1; name it in stem or tail"):
        train(msgspec.structs.replace(small_plan(folder), architecture=architecture), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_checkpoint_and_the_work(
    finished: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished)
    full = OSError(28, os.strerror(28))

    def fsync(_: int) -> None:
        if (finished.with_name("c.partial") / "gate.safetensors").exists():
            raise full

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space left on device; free some space"):
        patch.setattr(os, "fsync", fsync)
        train(small_plan(folder, seed=5), finished, force=True)
    assert contents(finished) == before
    recorder = Recorder()
    train(small_plan(folder, seed=5), finished, force=True, progress=recorder)
    assert "base" not in recorder.steps
    assert read_config(finished).training == small_plan(folder, seed=5).config


def test_a_plain_network_is_trained_like_the_base_of_a_mixture(reference: Path, folder: Path, tmp_path: Path) -> None:
    config = train(small_plan(folder, **TWO, experts=0), tmp_path / "c", jobs=2)
    files = contents(tmp_path / "c")
    assert set(files) == {"config.json", "base.safetensors"}
    assert files["base.safetensors"] == contents(reference)["base.safetensors"]
    assert config.training == small_plan(folder, **TWO, experts=0).config
    assert config.training is not None
    assert (config.experts, config.training.epochs, config.training.expert_epochs) == (0, 2, None)
    assert set(config.metrics) == {"validation_images", "base_accuracy", "base_accuracy_95"}
    assert "scikit-learn" not in config.tools
    with pytest.raises(UsageError, match=r"there is no expert 0: .* is a plain network"):
        retrain_expert(tmp_path / "c", 0)


def test_a_base_that_was_never_trained_has_no_epochs(reference: Path, folder: Path, tmp_path: Path) -> None:
    given = {"base_weights": str(reference / "base.safetensors"), "finetune": "none"}
    plan = small_plan(folder, **given)
    assert (plan.config.epochs, plan.config.learning_rate) == (None, None)
    config = train(plan, tmp_path / "c")
    written = msgspec.json.decode((tmp_path / "c" / "config.json").read_bytes())["training"]
    assert (written["epochs"], written["learning_rate"], written["expert_epochs"]) == (None, None, 1)
    assert config.training == plan.config
    # Epochs that nobody needs make no other plan: a run that stopped goes on.
    assert small_plan(folder, **given, epochs=9) == plan
    with pytest.raises(UsageError, match=r"nothing would be trained: .*'edge-moe import'"):
        train(small_plan(folder, **given, experts=0), tmp_path / "d")


def test_experts_of_a_base_without_a_branch_point_are_refused_at_once(folder: Path, tmp_path: Path) -> None:
    plan = small_plan(folder)
    plan = msgspec.structs.replace(
        plan, architecture=msgspec.structs.replace(plan.architecture, base="tests.whole:network")
    )
    recorder = Recorder()
    with pytest.raises(UsageError, match=r"Whole has no .*; add that, or make a plain network of it: --experts 0"):
        train(plan, tmp_path / "c", progress=recorder)
    assert recorder.steps == {}
    config = train(msgspec.structs.replace(plan, experts=0), tmp_path / "c")
    assert config.experts == 0
