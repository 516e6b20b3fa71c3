"""The folder in which a target is made: what it is taken over from, what is published, and what is never touched."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_moe.errors import OutputError
from edge_moe.ledger import keep
from edge_moe.work import Work, forget_published, making, published
from tests.test_output import OURS, make, snapshot

PLAN = {"seed": 0, "checkpoint": f"/{'home/' * 40}c", "data": {"name": "digits", "labels": ["0"] * 99}}


def finished(target: Path, text: str, **options: Any) -> None:
    with making(target, "test", **options) as work:
        (work.fresh() / "new.json").write_text(text)
        work.publish()


def unfinished(target: Path, command: str = "test", plan: Any = PLAN, **files: str) -> Path:
    """What a run that was stopped leaves."""
    with making(target, command, own=("*.bin",)) as work:
        work.take_up(plan)
        for name, text in (files or {"one_bin": "done"}).items():
            keep(work.folder / name.replace("_", "."), text.encode())
    return work.folder


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, a process ends as if it was killed."""
    monkeypatch.setattr(Work, "close", lambda self: self._lock.release())


# --- from nothing to the target ---


def test_a_finished_folder_gets_its_name_and_nothing_else_stays(tmp_path: Path) -> None:
    finished(tmp_path / "deep" / "er" / "t", "new")
    assert snapshot(tmp_path) == {"deep": None, "deep/er": None, "deep/er/t": None, "deep/er/t/new.json": "new"}


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on the way"), making(tmp_path / "deep" / "er" / "t", "test") as work:
        (work.fresh() / "new.json").write_text("half")
        raise ValueError("on the way")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_by_force_only(tmp_path: Path) -> None:
    target = make(tmp_path / "t", manifest_json=OURS)
    with pytest.raises(OutputError, match=r"t exists already; .* --force"):
        finished(target, "new")
    finished(target, "new", force=True)
    assert snapshot(tmp_path) == {"t": None, "t/new.json": "new"}


def test_the_old_one_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = make(tmp_path / "t", manifest_json=OURS)
    seen: list[tuple[str, list[str]]] = []
    rename = Path.rename

    def spy(self: Path, other: Path) -> Path:
        result = rename(self, other)
        seen.append(
            (other.name, [name for name in sorted(snapshot(tmp_path)) if name.endswith(("manifest.json", "new.json"))])
        )
        return result

    monkeypatch.setattr(Path, "rename", spy)
    finished(target, "new", force=True)
    assert seen[:2] == [
        (".t.edge-moe.replaced", [".t.edge-moe.replaced/manifest.json", "t.partial/.edge-moe/result/new.json"]),
        ("t", [".t.edge-moe.replaced/manifest.json", "t/new.json"]),
    ]


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()])
def test_the_old_one_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    target = make(tmp_path / "t", manifest_json=OURS)
    rename = Path.rename

    def fails(self: Path, other: Path) -> Path:
        if self.name == "result":
            raise error
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        finished(target, "new", force=True)
    assert snapshot(tmp_path) == {"t": None, "t/manifest.json": OURS}


@pytest.mark.usefixtures("killed")
def test_the_old_one_comes_back_when_the_process_was_killed_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make(tmp_path / "t", manifest_json=OURS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Work, "_put_back", lambda self: None)
        rename = Path.rename
        patch.setattr(Path, "rename", lambda self, to: rename(self, to) if self == target else _interrupt())
        finished(target, "new", force=True)
    assert not target.exists()
    with pytest.raises(OutputError, match=r"t exists already"):
        finished(target, "new")
    assert snapshot(target) == {"manifest.json": OURS}


def _interrupt() -> Path:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("renamed", "stays"), [("t", {"manifest.json": OURS}), ("result", {"new.json": "new"})])
def test_an_interrupt_that_comes_while_a_name_changes_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: str, stays: dict[str, str]
) -> None:
    """It is raised when the system call is done."""
    target = make(tmp_path / "t", manifest_json=OURS)
    rename = Path.rename

    def interrupted(self: Path, other: Path) -> Path:
        result = rename(self, other)
        if self.name == renamed:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Path, "rename", interrupted)
    forget_published()
    with pytest.raises(KeyboardInterrupt):
        finished(target, "new", force=True)
    assert published() == (target if renamed == "result" else None)
    assert snapshot(tmp_path) == {"t": None} | {f"t/{name}": text for name, text in stays.items()}


def test_what_was_replaced_and_cannot_be_put_back_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = make(tmp_path / "t", manifest_json=OURS)
    rename = Path.rename

    def fails(self: Path, other: Path) -> Path:
        if self.name == "result" or self.name.endswith("replaced"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, other)

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="cannot write"):
        patch.setattr(Path, "rename", fails)
        finished(target, "new", force=True)
    assert not target.exists()
    with pytest.raises(OutputError, match=r"t exists already"):
        finished(target, "new")
    assert snapshot(target) == {"manifest.json": OURS}


@pytest.mark.usefixtures("killed")
def test_half_of_what_was_replaced_is_not_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = make(tmp_path / "t", manifest_json=OURS, one_json="1")
    rmtree = shutil.rmtree

    def killed(path: Path) -> None:
        (path / "one.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        finished(target, "new", force=True)
    assert snapshot(target) == {"new.json": "new"}
    rmtree(target)
    finished(target, "newer")
    assert snapshot(target) == {"new.json": "newer"}


@pytest.mark.usefixtures("killed")
@pytest.mark.parametrize("folder", ["t.unfinished", "t.expert_00.partial", "t.partial"])
def test_any_command_puts_back_what_was_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Wherever the one that was killed made its target, and whatever is where the next one makes it."""
    target = make(tmp_path / "t", manifest_json=OURS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Work, "_put_back", lambda self: None)
        rename = Path.rename
        patch.setattr(Path, "rename", lambda self, to: rename(self, to) if self == target else _interrupt())
        finished(target, "new", force=True, folder=tmp_path / folder)
    assert not target.exists()
    make(tmp_path / "t.report", thesis_txt="years of work")
    with pytest.raises(OutputError, match="files that edge-moe did not write"):
        finished(target, "newer", force=True, folder=tmp_path / "t.report")
    assert snapshot(target) == {"manifest.json": OURS}


def test_nothing_is_published_before(tmp_path: Path) -> None:
    forget_published()
    assert published() is None
    finished(tmp_path / "t", "new")
    assert published() == tmp_path / "t"
    shutil.rmtree(tmp_path / "t")
    assert published() is None


def test_what_is_somebodys_stays_beside_what_is_dropped(tmp_path: Path) -> None:
    with making(tmp_path / "t", "test", own=("*.bin", "parts/a*")) as work:
        work.take_up(PLAN, own=("parts/a*",))
        for name in ("one.bin", "parts/a.bin", "parts/ab.bin"):
            keep(work.folder / name, b"1")
        for name in ("notes.txt", "parts/notes.txt"):
            (work.folder / name).write_text("somebody's")
        (work.folder / "parts/a.half").write_text("not entered")
    with making(tmp_path / "t", "test", own=("*.bin", "parts/a*")) as work:
        work.take_up(PLAN, own=("parts/a*",))
        assert not (work.folder / "parts/a.half").exists()
        (work.gather("*.bin") / "new.json").write_text("new")
        work.publish()
        work.drop()
    assert snapshot(tmp_path / "t") == {"one.bin": "1", "new.json": "new"}
    assert snapshot(tmp_path / "t.partial") == {
        "notes.txt": "somebody's",
        "parts": None,
        "parts/notes.txt": "somebody's",
    }


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    real, target = make(tmp_path / "real", manifest_json=OURS), tmp_path / "t"
    target.symlink_to(real)
    finished(target, "new", force=True)
    assert snapshot(target) == {"new.json": "new"}
    assert snapshot(real) == {"manifest.json": OURS}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["real", "t"]


def test_what_comes_to_stand_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"t exists already"), making(tmp_path / "t", "test") as work:
        work.fresh()
        make(tmp_path / "t", thesis_txt="years of work")
        work.publish()
    assert snapshot(tmp_path) == {"t": None, "t/thesis.txt": "years of work"}


def test_files_are_published_under_a_second_name(tmp_path: Path) -> None:
    """Nothing is copied, and nothing is missing from the work until the target stands."""
    with making(tmp_path / "t", "test", own=("*.bin", "parts")) as work:
        work.take_up(PLAN)
        keep(work.folder / "one.bin", b"1")
        keep(work.folder / "parts" / "two.bin", b"2")
        (work.folder / "notes.txt").write_text("somebody's")
        beside = make(tmp_path / "beside", one_bin="other", three_txt="3")
        work.gather("*.bin", "parts", beside=beside)
        work.publish()
        assert (tmp_path / "t/one.bin").samefile(work.folder / "one.bin")
        work.drop()
    assert snapshot(tmp_path / "t") == {"one.bin": "1", "parts": None, "parts/two.bin": "2", "three.txt": "3"}
    assert snapshot(tmp_path / "t.partial") == {"notes.txt": "somebody's"}


def test_within_one_thread_it_is_the_same_work(tmp_path: Path) -> None:
    with making(tmp_path / "t", "outer") as work:
        with making(tmp_path / "t", "inner", force=True) as same:
            assert same is work
            (work.fresh() / "new.json").write_text("1")
            work.publish()
        assert work.folder.exists()
    assert snapshot(tmp_path) == {"t": None, "t/new.json": "1"}


def test_the_inner_ones_files_are_known_too(tmp_path: Path) -> None:
    """The command line holds the lock around a training, which says what it leaves."""
    with making(tmp_path / "t", "test"), making(tmp_path / "t", "test", own=("*.bin",)) as work:
        work.take_up(PLAN)
        keep(work.folder / "one.bin", b"1")
        work.gather("*.bin")
        work.publish()
        work.drop()
    assert snapshot(tmp_path) == {"t": None, "t/one.bin": "1"}


# --- what is in its place ---


def test_the_same_command_with_the_same_plan_goes_on(tmp_path: Path) -> None:
    folder = unfinished(tmp_path / "t")
    with making(tmp_path / "t", "test") as work:
        work.take_up(PLAN)
        assert work.sittings == 2
        assert (folder / "one.bin").read_text() == "done"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("command", "plan", "words"),
    [
        (
            "test",
            PLAN | {"seed": 1},
            r"with other settings \(seed was 0, now 1\); repeat that command to go on, choose",
        ),
        ("test", {"seed": 0, "data": {"name": "noise", "labels": []}}, r"\(name was digits, now noise\)"),
        ("test", {"seed": 0, "data": {"name": "digits", "labels": []}}, r"\(other labels\)"),
        (
            "test",
            PLAN | {"checkpoint": f"/{'there/' * 20}"},
            r"\(checkpoint was /(home/){40}c, now /(there/){20}\); repeat",
        ),
        (
            "init",
            {},
            r"'edge-moe test' \(one.bin\); repeat that command to go on with it, choose another target, or drop",
        ),
    ],
)
def test_other_work_stays(tmp_path: Path, command: str, plan: Any, words: str, force: bool) -> None:
    unfinished(tmp_path / "t")
    before = snapshot(tmp_path)
    words = rf"t.partial holds an unfinished run of .*{words}.*: rm -r .*t\.partial$"
    with pytest.raises(OutputError, match=words), making(tmp_path / "t", command, force=force) as work:
        work.take_up(plan)
    assert snapshot(tmp_path) == before


@pytest.mark.usefixtures("killed")
def test_work_of_which_nothing_is_done_is_in_nobodys_way(tmp_path: Path) -> None:
    with making(tmp_path / "t", "test") as work:
        work.take_up(PLAN)
        (work.fresh() / "half.bin").write_text("half")
    assert (tmp_path / "t.partial").exists()
    with making(tmp_path / "t", "init") as work:
        assert list(work.fresh().iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda it: make(it, parity_md="# Parity"), "an unfinished conversion of an older edge-moe"),
        (lambda it: make(it, convert_log="killed"), "an unfinished conversion of an older edge-moe"),
        (lambda it: make(it, thesis_txt="years of work"), r"files that edge-moe did not write \(thesis.txt\)"),
        (lambda it: it.write_text("years of work"), "is no folder of edge-moe"),
        (lambda it: it.symlink_to(it.parent), "is no folder of edge-moe"),
        (lambda it: make(it, plan_json="{}", base_safetensors="x"), "an unfinished training of an older edge-moe"),
        (
            lambda it: (it / "parts").mkdir(parents=True),
            "an unfinished conversion of",
        ),
    ],
)
def test_what_edge_moe_did_not_mark_stays(tmp_path: Path, fill: Callable[[Path], Any], words: str, force: bool) -> None:
    fill(tmp_path / "t.partial")
    before = [path.name for path in tmp_path.iterdir()]
    with pytest.raises(OutputError, match=rf"t\.partial .*{words}.*choose another target"):
        finished(tmp_path / "t", "new", force=force)
    assert [path.name for path in tmp_path.iterdir()] == before
    if (tmp_path / "t.partial").is_dir():
        assert list((tmp_path / "t.partial").iterdir())


def test_an_empty_folder_is_what_a_kill_between_two_steps_leaves(tmp_path: Path) -> None:
    (tmp_path / "t.partial").mkdir()
    finished(tmp_path / "t", "new")
    assert snapshot(tmp_path) == {"t": None, "t/new.json": "new"}


@pytest.mark.parametrize("damage", ["", '{"tool": "edge-moe"', '{"tool": "another"}'])
def test_a_damaged_mark_is_named(tmp_path: Path, damage: str) -> None:
    (unfinished(tmp_path / "t") / ".edge-moe/mark.json").write_text(damage)
    before = snapshot(tmp_path)
    with pytest.raises(OutputError, match=r"mark\.json is damaged, .*t\.partial holds; .* rm -r"):
        finished(tmp_path / "t", "new")
    assert snapshot(tmp_path) == before


def test_a_lock_that_somebody_removed_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="somebody removed the lock"), making(tmp_path / "t", "test") as work:
        work.fresh()
        (tmp_path / ".t.edge-moe.lock").unlink()
        make(tmp_path / ".t.edge-moe.replaced", manifest_json=OURS)  # by whoever has the lock now
        work.publish()
    assert snapshot(tmp_path) == {".t.edge-moe.replaced": None, ".t.edge-moe.replaced/manifest.json": OURS}
