"""What a target needs here: brought once, checked, gone on with, and taken away."""

from __future__ import annotations

import hashlib

import pytest

from edge_moe import IntegrityError, OutputError
from edge_moe.benchmarks import set_up
from edge_moe.benchmarks.set_up import Item, SetUp
from edge_moe.progress import Silent
from tests.cli.conftest import small_disk
from tests.tiny import tree

FILES = {"runner": b"#!/bin/sh\n", "library.so": b"machine code" * 9, "notes": b""}


class Core(SetUp):
    items = tuple(
        Item(name=name, version="1.0", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in FILES.items()
    )

    def __init__(self, folder):
        super().__init__(folder)
        self.fetched, self.files = [], dict(FILES)

    def fetch(self, item, file):
        self.fetched.append(item.name)
        data = self.files[item.name]
        if data is None:
            file.write_bytes(b"half")
            raise KeyboardInterrupt
        file.write_bytes(data)


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
    assert {one.name: one.read_bytes() for one in core.folder.iterdir() if one.name in FILES} == FILES
    assert steps.seen == [("setting up core", 3, 0), *FILES]
    core.install(steps)
    assert core.fetched == list(FILES)
    assert steps.seen[-1] == ("setting up core", 3, 3)


def test_a_set_up_that_was_stopped_goes_on(core):
    core.files["library.so"] = None
    with pytest.raises(KeyboardInterrupt):
        core.install(Silent())
    assert [core.is_there(item) for item in core.items] == [True, False, False]
    assert b"half" not in {one.read_bytes() for one in core.folder.iterdir() if one.is_file()}
    core.files = dict(FILES)
    core.install(Silent())
    assert core.complete
    assert core.fetched == ["runner", "library.so", "library.so", "notes"]


def test_a_file_that_was_changed_is_brought_again(core):
    core.install(Silent())
    (core.folder / "library.so").write_bytes(b"machine cods" * 9)
    assert not core.complete
    core.install(Silent())
    assert core.complete


def test_other_bytes_than_were_pinned_are_not_used(core):
    core.files["library.so"] = b"something else"
    with pytest.raises(IntegrityError, match=r"library.so 1.0 has 14 bytes .* 108 and .* are pinned; it is not used"):
        core.install(Silent())
    assert not (core.folder / "library.so").exists()


def test_it_can_be_taken_away(core, tmp_path):
    core.remove()
    core.install(Silent())
    core.remove()
    assert tree(tmp_path / "cache") == {}
    assert not core.complete


def test_a_full_disk(core):
    with small_disk(50), pytest.raises(OutputError, match=r"cannot write .*library.so"):
        core.install(Silent())
    assert [core.is_there(item) for item in core.items] == [True, False, False]


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path / "mine"))
    assert set_up.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("EDGE_MOE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert set_up.cache_folder() == tmp_path / "xdg/edge-moe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert set_up.cache_folder() == tmp_path / ".cache/edge-moe"
