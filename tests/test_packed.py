"""Packed files: found again, told from others, checked byte for byte, bounded, and never a reason to fail."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import pytest

from edge_moe import packed
from edge_moe.packed import Packed, has_sha256, packed_folder
from edge_moe.records import sha256


class Making:
    """Makes a file, and counts how often."""

    def __init__(self, data: bytes | None = b"weights") -> None:
        self.data, self.count = data, 0

    def __call__(self) -> int | None:
        self.count += 1
        return None if self.data is None else in_memory(self.data)


def in_memory(data: bytes) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return os.dup(file.fileno())


def content(descriptor: int | None) -> bytes | None:
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_was_made_is_found_again_by_another_process(tmp_path: Path) -> None:
    make = Making()
    for _ in range(3):
        assert content(Packed(tmp_path / "deep" / "down").open(("litert", "1", "a"), make)) == b"weights"
    assert make.count == 1
    (file,) = files(tmp_path / "deep" / "down")
    assert file.name.endswith(f"-{sha256(b'weights')}")


def test_anything_that_differs_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Making()
    store = Packed(tmp_path)
    for parts in (("litert", "1", "a"), ("litert", "2", "a"), ("litert", "1", "b"), ("litert", "1a", "")):
        content(store.open(parts, make))
    assert (make.count, len(files(tmp_path))) == (4, 4)
    monkeypatch.setattr(packed, "_seen_by_numpy", lambda: ["AVX2"])  # what an emulator leaves of a processor
    packed._of_the_processor.cache_clear()
    content(store.open(("litert", "1", "a"), make))
    packed._of_the_processor.cache_clear()
    assert (make.count, len(files(tmp_path))) == (5, 5)


def test_every_byte_counts(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3
    make, store = Making(data), Packed(tmp_path)
    content(store.open(("a",), make))
    (file,) = files(tmp_path)
    for place in range(len(data)):
        altered = bytearray(data)
        altered[place] ^= 0x10
        file.write_bytes(altered)
        assert content(store.open(("a",), make)) == data
        assert make.count == place + 2
    for shorter in (b"", data[:-1], data + b"\0"):
        file.write_bytes(shorter)
        assert content(store.open(("a",), make)) == data
    assert files(tmp_path) == [file]


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    monkeypatch.setattr(packed, "_SETTLED_SECONDS", -1.0)
    with (tmp_path / "a").open("rb") as stream:
        assert has_sha256(stream.fileno(), sha256(b"weights"))
        assert not has_sha256(stream.fileno(), sha256(b"other"))
        monkeypatch.setattr(packed.hashlib, "file_digest", None)
        assert has_sha256(stream.fileno(), sha256(b"weights"))


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    """It may be written once more within one tick of the file system's clock."""
    (tmp_path / "a").write_bytes(b"weights")
    state = (tmp_path / "a").stat()
    with (tmp_path / "a").open("rb") as stream:
        assert has_sha256(stream.fileno(), sha256(b"weights"))
        (tmp_path / "a").write_bytes(b"WEIGHTS")
        os.utime(tmp_path / "a", ns=(state.st_atime_ns, state.st_mtime_ns))
        assert not has_sha256(stream.fileno(), sha256(b"weights"))


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    make = Making()
    assert Packed(tmp_path / "file").open(("a",), make) is None
    assert Packed(Path("/dev/full/packed")).open(("a",), make) is None
    assert Packed(tmp_path / "folder").open(("a",), Making(None)) is None
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_full_disk_keeps_nothing_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert Packed(tmp_path).open(("a",), Making()) is None
    assert files(tmp_path) == []


def test_the_least_recently_used_go_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_USED_SECONDS", -1.0)
    store = Packed(tmp_path, most_bytes=30)
    for name in ("a", "b", "c"):
        content(store.open((name,), Making(10 * name.encode())))
        time.sleep(0.01)
    content(store.open(("a",), Making(b"never")))
    content(store.open(("d",), Making(b"d" * 10)))
    kept = sorted(file.read_bytes()[:1] for file in files(tmp_path))
    assert kept == [b"a", b"c", b"d"]


def test_what_a_killed_process_left_goes_when_it_is_old(tmp_path: Path) -> None:
    old, new = (f".{letter * 32}-{letter * 64}.7" for letter in "ab")
    for name, age in ((old, 7200), (new, 0), (".bashrc", 7200), ("film.mp4", 7200)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    content(Packed(tmp_path, most_bytes=7).open(("a",), Making()))
    left = {file.name for file in files(tmp_path)}
    assert {new, ".bashrc", "film.mp4"} < left and old not in left
    assert len(left) == 4


def test_where_nothing_could_be_kept_it_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    make, room = Making(), []
    store = Packed(tmp_path / "file")
    store.before_making = lambda: room.append(1)
    for _ in range(3):
        assert store.open(("a",), make) is None
    assert (make.count, len(room)) == (1, 1)
    assert Packed(tmp_path / "more", most_bytes=3).open(("a",), make) is None
    assert Packed(tmp_path / "more").open(("a",), make, lambda: False) is None
    assert make.count == 2


def test_links_and_pipes_of_that_name_are_not_followed(tmp_path: Path) -> None:
    content(Packed(tmp_path / "a").open(("a",), Making()))
    (file,) = files(tmp_path / "a")
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert Packed(tmp_path / "a").open(("a",), Making()) is None
    file.unlink()
    os.mkfifo(file)
    assert content(Packed(tmp_path / "a").open(("a",), Making())) == b"weights"


def test_of_a_folder_that_others_may_write_to_nothing_is_used(tmp_path: Path) -> None:
    content(Packed(tmp_path / "a").open(("a",), Making()))
    (tmp_path / "a").chmod(0o777)
    assert Packed(tmp_path / "a").open(("a",), Making(b"other")) is None
    (tmp_path / "a").chmod(0o700)
    assert content(Packed(tmp_path / "a").open(("a",), Making(b"other"))) == b"weights"


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGE_MOE_WEIGHT_CACHE", "EDGE_MOE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert packed_folder() is None


def test_two_that_make_one_at_once_both_get_it_or_do_without(tmp_path: Path) -> None:
    barrier, found = threading.Barrier(2), []

    def make() -> int:
        barrier.wait()
        return in_memory(b"weights")

    def use() -> None:
        found.append(content(Packed(tmp_path).open(("a",), make)))

    threads = [threading.Thread(target=use) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert b"weights" in found
    assert set(found) <= {b"weights", None}
    assert content(Packed(tmp_path).open(("a",), Making(b"never"))) == b"weights"


def test_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_MOE_WEIGHT_CACHE", str(tmp_path))
    assert packed_folder() == tmp_path
    monkeypatch.setenv("EDGE_MOE_WEIGHT_CACHE", "0")
    assert packed_folder() is None
    monkeypatch.delenv("EDGE_MOE_WEIGHT_CACHE")
    monkeypatch.delenv("EDGE_MOE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert packed_folder() == tmp_path / "edge-moe" / "packed"
