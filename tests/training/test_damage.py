"""Unfinished training that was damaged ends as if nothing had happened, and says what was made anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_moe.training import experts
from edge_moe.training.run import train
from tests.training.conftest import Recorder, contents, small_plan

TWO = {"epochs": 2, "expert_epochs": 2}
FILES = (
    *("base.safetensors", "gate.safetensors", "expert_00.safetensors", "expert_01.state"),
    *("embeddings.npy", "agreement.json"),
)
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "half of zeros": lambda whole: whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2),
}


def _stopped(folder: Path, out: Path, **changes: Any) -> Path:
    """What a run leaves that was stopped when the last expert was trained, and not yet entered."""

    def stop(module: Any, name: str) -> None:
        if name == "expert 1":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(experts, "check_finite", stop)
        train(small_plan(folder, **TWO, **changes), out)
    return out.with_name(f"{out.name}.partial")


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "c"
    train(small_plan(folder, **TWO), out)
    return contents(out)


@pytest.fixture(scope="module")
def stopped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _stopped(folder, tmp_path_factory.mktemp("stopped") / "c")


@pytest.fixture(scope="module")
def other(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _stopped(folder, tmp_path_factory.mktemp("other") / "c", seed=5)


@pytest.fixture
def partial(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "c.partial"))


def _goes_on(folder: Path, partial: Path, undisturbed: dict[str, bytes]) -> Recorder:
    recorder = Recorder()
    train(small_plan(folder, **TWO), partial.with_name("c"), progress=recorder)
    assert contents(partial.with_name("c")) == undisturbed
    assert list(partial.parent.iterdir()) == [partial.with_name("c")]
    return recorder


def test_whole_as_it_is(folder: Path, partial: Path, undisturbed: dict[str, bytes]) -> None:
    assert {file.name for file in partial.iterdir()} == {".edge-moe", *FILES}
    recorder = _goes_on(folder, partial, undisturbed)
    assert not {"base", "embeddings", "gate", "expert 0"} & recorder.steps.keys()
    assert recorder.steps["expert 1"] == [2, 2, 0]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_made_anew(
    folder: Path,
    partial: Path,
    undisturbed: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: str,
) -> None:
    file = partial / name
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    caplog.set_level("INFO", "edge_moe")
    _goes_on(folder, partial, undisturbed)
    (line,) = caplog.messages
    what = "other contents than were written" if damage == "half of zeros" else r"bytes, not "
    assert line.startswith(f"{name} in {partial} has ")
    assert what in line
    assert line.endswith(": it is made anew")


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_seed(
    folder: Path, partial: Path, other: Path, undisturbed: dict[str, bytes], name: str
) -> None:
    shutil.copy(other / name, partial / name)
    _goes_on(folder, partial, undisturbed)


@pytest.mark.parametrize("name", ["gate.safetensors", "expert_00.safetensors", "expert_01.state", "embeddings.npy"])
def test_a_file_of_another_seed_with_its_entry(
    folder: Path,
    partial: Path,
    other: Path,
    undisturbed: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    for one in (name, f".edge-moe/{name}.entry"):
        shutil.copy(other / one, partial / one)
    caplog.set_level("INFO", "edge_moe")
    _goes_on(folder, partial, undisturbed)
    if name.endswith(".safetensors"):
        assert f"{name} in {partial} was made from other parts: it is made anew" in caplog.messages


def test_two_that_were_swapped(folder: Path, partial: Path, undisturbed: dict[str, bytes]) -> None:
    one, two = partial / "expert_00.safetensors", partial / "base.safetensors"
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)
    assert {"base", "expert 0", "expert 1"} <= _goes_on(folder, partial, undisturbed).steps.keys()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_not_entered_is_not_done(
    folder: Path, partial: Path, undisturbed: dict[str, bytes], name: str
) -> None:
    """As a kill between the two leaves it, or somebody who puts it there."""
    (partial / f".edge-moe/{name}.entry").unlink()
    _goes_on(folder, partial, undisturbed)
