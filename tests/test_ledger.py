"""A file of unfinished work is done if it is what was written, and only then."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_moe import ledger, orphans
from edge_moe.errors import OutputError
from edge_moe.ledger import Kept, enter, forget, is_done, keep, sweep, works

DATA = bytes(range(200)) * 10


def test_what_was_kept_is_done(tmp_path: Path) -> None:
    keep(tmp_path / "a.bin", DATA)
    keep(tmp_path / "deep" / "b.bin", b"")
    (tmp_path / "c.bin").write_bytes(DATA)
    assert sweep(tmp_path) == {}
    assert works(tmp_path) == ["a.bin", "deep/b.bin"]
    assert [is_done(tmp_path / name) for name in ("a.bin", "deep/b.bin", "c.bin", "d.bin")] == [
        True,
        True,
        False,
        False,
    ]
    enter(tmp_path / "c.bin")
    assert is_done(tmp_path / "c.bin")
    forget(tmp_path / "a.bin")
    assert works(tmp_path) == ["c.bin", "deep/b.bin"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: f.write_bytes(b""), "has 0 bytes, not 2,000"),
        (lambda f: f.write_bytes(DATA[:-9]), "has 1,991 bytes, not 2,000"),
        (lambda f: f.write_bytes(DATA[:1000] + bytes(1000)), "has other contents than were written (sha256 "),
        (lambda f: f.write_bytes(DATA[::-1]), "has other contents"),
        (lambda f: f.unlink(), "is gone"),
        (lambda f: (f.parent / ".edge-moe/a.bin.entry").write_text("{"), "has a damaged entry"),
    ],
)
def test_what_is_damaged_is_named_and_dropped(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    keep(tmp_path / "a.bin", DATA)
    keep(tmp_path / "b.bin", DATA)
    damage(tmp_path / "a.bin")
    found = sweep(tmp_path)
    assert list(found) == ["a.bin"]
    assert found["a.bin"].startswith(words)
    assert works(tmp_path) == ["b.bin"]
    assert sweep(tmp_path) == {}


def test_two_that_were_swapped_are_both_damaged(tmp_path: Path) -> None:
    keep(tmp_path / "a.bin", DATA)
    keep(tmp_path / "b.bin", DATA[::-1])
    (tmp_path / "a.bin").write_bytes(DATA[::-1])
    (tmp_path / "b.bin").write_bytes(DATA)
    assert list(sweep(tmp_path)) == ["a.bin", "b.bin"]


def test_what_was_made_from_something_else_is_not_done(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a.bin", "base 1")
    kept.write(DATA)
    assert kept.read() == DATA
    assert Kept(tmp_path / "a.bin", "base 2").read() is None
    assert is_done(kept.file, of=None)


@pytest.mark.parametrize("at", ["before the entry", "before the name", "after"])
def test_a_kill_loses_neither_the_old_nor_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    file = tmp_path / "a.state"
    keep(file, b"one")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if at == "before the entry":
            patch.setattr(ledger, "_write", stop)
        elif at == "before the name":
            real = Path.replace
            patch.setattr(Path, "replace", lambda self, to: stop() if to == file else real(self, to))
        else:
            real_write = ledger.write_file

            def written(path: Path, *given: Any, **options: Any) -> None:
                real_write(path, *given, **options)
                if path == file:
                    stop()

            patch.setattr(ledger, "write_file", written)
        with pytest.raises(KeyboardInterrupt):
            keep(file, b"another")
    assert sweep(tmp_path) == {}
    assert file.read_bytes() == (b"another" if at == "after" else b"one")
    assert is_done(file)
    keep(file, b"a third")
    assert sweep(tmp_path) == {}


def test_a_first_file_without_its_entry_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", lambda self, to: (_ for _ in ()).throw(KeyboardInterrupt))
        keep(tmp_path / "a.bin", DATA)
    assert not is_done(tmp_path / "a.bin")


def test_halves_go_and_what_is_somebodys_stays(tmp_path: Path) -> None:
    keep(tmp_path / "parts" / "a.bin", DATA)
    names = (".a.bin.4711", "parts/.b.bin.4711", "parts/b.bin", "notes.txt", ".hidden", ".edge-moe/.a.entry.12")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    sweep(tmp_path, own=["parts/b*"])
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {"parts/a.bin", "parts/.edge-moe/a.bin.entry", "notes.txt", ".hidden"}


def test_an_orphan_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "_parent", os.getpid())  # which is nobody's own parent
    with pytest.raises(OutputError, match="the process that began this is gone"):
        keep(tmp_path / "a.bin", DATA)
    assert list(tmp_path.iterdir()) == []
