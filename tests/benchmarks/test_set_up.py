"""What a target needs here: brought once, checked, gone on with, and taken away."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from edge_moe import IntegrityError, OutputError
from edge_moe.benchmarks.set_up import Item, SetUp
from edge_moe.lock import acquire
from edge_moe.progress import Silent
from tests.cli.conftest import small_disk
from tests.tiny import tree

FILES = {"runner": b"#!/bin/sh\n", "libraries": b"machine code" * 9, "notes": b""}


class Core(SetUp):
    def __init__(self, folder):
        super().__init__(folder)
        self.brought, self.files = [], dict(FILES)
        self.items = tuple(
            Item(name=name, version="1.0", bytes=len(data), made_from=hashlib.sha256(data).hexdigest())
            for name, data in FILES.items()
        )

    def bring(self, item, folder):
        self.brought.append(item.name)
        data = self.files[item.name]
        if isinstance(data, BaseException):
            (folder / "file").write_bytes(b"half")
            raise data
        (folder / "inner").mkdir()
        (folder / "inner/file").write_bytes(data)
        (folder / "link").symlink_to("inner")


@pytest.fixture
def core(tmp_path):
    return Core(tmp_path / "cache/core")


class Steps(Silent):
    def __init__(self):
        self.seen = []

    def start(self, name, total, done=0):
        self.seen.append((name, total, done))

    def advance(self, name, note=""):
        self.seen.append(note)


def test_everything_is_brought_once(core):
    assert (core.bytes, core.complete) == (118, False)
    steps = Steps()
    core.install(steps)
    assert core.complete
    assert {name: (core.folder / name / "inner/file").read_bytes() for name in FILES} == FILES
    assert steps.seen == [("setting up core", 3, 0), *FILES]
    assert core.kept_bytes > core.bytes  # and what stands beside the files
    core.install(steps)
    assert core.brought == list(FILES)
    assert steps.seen[-1] == ("setting up core", 3, 3)


def test_what_is_complete_needs_no_turn(core):
    """As two commands that begin with a set-up ask for it at once."""
    core.install(Silent())
    lock = acquire(core.folder, "another process")
    try:
        core.install(Silent())
        with pytest.raises(OutputError, match="is being made by"):
            core.remove()
    finally:
        lock.release()


def test_a_set_up_that_was_stopped_goes_on(core):
    core.files["libraries"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        core.install(Silent())
    assert [core.is_there(item) for item in core.items] == [True, False, False]
    assert sorted(one.name for one in core.folder.iterdir()) == ["runner"]
    core.files = dict(FILES)
    core.install(Silent())
    assert core.complete
    assert core.brought == ["runner", "libraries", "libraries", "notes"]


def test_what_a_kill_left_is_cleared(core):
    (core.folder / ".runner.12345.half").mkdir(parents=True)
    core.install(Silent())
    assert core.complete
    assert sorted(one.name for one in core.folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "inner/file").write_bytes(b"machine cods" * 9),
        lambda folder: (folder / "inner/file").unlink(),
        lambda folder: (folder / "another").write_bytes(b""),
        lambda folder: (folder / "brought.json").write_bytes(b"{"),
        lambda folder: (folder / "brought.json").unlink(),
    ],
)
def test_what_was_changed_is_brought_again(core, harm):
    core.install(Silent())
    harm(core.folder / "libraries")
    assert [core.is_there(item) for item in core.items] == [True, False, True]
    core.install(Silent())
    assert core.complete
    assert core.brought[3:] == ["libraries"]


def test_what_is_made_from_something_else_now_is_brought_again(core):
    core.install(Silent())
    runner, *others = core.items
    core.items = (msgspec.structs.replace(runner, made_from="0" * 64), *others)
    assert not core.complete
    core.install(Silent())
    assert core.brought[3:] == ["runner"]


def test_what_cannot_be_had_leaves_the_rest(core):
    core.files["notes"] = IntegrityError("other bytes than were pinned")
    with pytest.raises(IntegrityError, match="pinned"):
        core.install(Silent())
    assert [core.is_there(item) for item in core.items] == [True, True, False]


def test_it_can_be_taken_away(core, tmp_path):
    core.remove()
    core.install(Silent())
    core.remove()
    assert tree(tmp_path / "cache") == {}
    assert not core.complete


def test_a_full_disk(core):
    with small_disk(50), pytest.raises(OutputError, match=r"cannot write .*runner: "):
        core.install(Silent())
    assert not core.complete
    assert not list(core.folder.glob(".*.half"))
    core.install(Silent())
    assert core.complete
