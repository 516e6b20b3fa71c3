"""The record of images: what it sees, and what it does not mind."""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import DataError
from edge_moe.training import record as module
from edge_moe.training.record import DataRecord, Entry, first_difference, read_record, record_data


def of_folder(root: Path) -> DataRecord:
    return record_data(open_data(root, "train", strict=True), open_data(root, "val", strict=True))


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "data"))


def test_the_record_of_a_folder(folder: Path) -> None:
    record = of_folder(folder)
    assert (len(record.train), len(record.val)) == (39, 15)
    first = folder / "train/cat/00.png"
    assert record.train[0].name == "cat/00.png"
    assert (record.train[0].label, record.train[0].size_bytes) == ("cat", first.stat().st_size)
    assert record.train[0].digest == hashlib.sha256(first.read_bytes()).hexdigest()[:32]
    assert msgspec.json.decode(msgspec.json.encode(record), type=DataRecord) == record
    assert record.digest().train_sha256 != record.digest().val_sha256


def test_the_place_and_the_times_of_the_files_do_not_matter(folder: Path, data: Path) -> None:
    os.utime(data / "train/cat/00.png", (1, 1))
    assert of_folder(data) == of_folder(folder)
    assert first_difference(of_folder(folder), of_folder(data)) == ""
    here = os.path.relpath(data)
    assert of_folder(Path(here)) == of_folder(folder)


def test_both_forms_of_a_name_are_one(data: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9.png") for form in ("NFC", "NFD"))
    (data / "train/cat/00.png").rename(data / "train/cat" / composed)
    before = of_folder(data)
    (data / "train/cat" / composed).rename(data / "train/cat" / decomposed)
    assert of_folder(data) == before


def test_an_image_that_cannot_be_read(data: Path) -> None:
    images = open_data(data, "train", strict=True)
    (data / "train/dog/07.png").unlink()
    with pytest.raises(
        DataError, match=r"train/dog/07\.png cannot be read: No such file or directory; mend it, or take"
    ):
        record_data(images, images)


def arrays(*values: int, labels: tuple[int, ...] = (0, 0, 1)) -> LabelledImages:
    images = [np.full((2, 2), value, np.uint8) for value in values]
    return LabelledImages("digits", ("no", "yes"), images, np.array(labels[: len(images)]))


def test_arrays_are_known_by_their_values() -> None:
    val = arrays(0)
    before = record_data(arrays(1, 2, 3), val)
    assert record_data(arrays(1, 2, 3), val) == before
    assert first_difference(before, record_data(arrays(1, 9, 3), val)) == "train/1 has other contents"
    assert first_difference(before, record_data(arrays(1, 2), val)) == "train/2 was removed"
    moved = record_data(arrays(1, 2, 3, labels=(0, 1, 1)), val)
    assert first_difference(before, moved) == "train/1 was 'no', now 'yes'"
    assert first_difference(before, record_data(arrays(2, 1, 3), val)) == "train/0 has other contents, and 1 more"
    flat = replace(arrays(1, 2, 3), sources=[image.reshape(4, 1) for image in arrays(1, 2, 3).sources])
    assert record_data(flat, val) != before


def entries(*names: str, size: int = 5, digest: str = "d") -> tuple[Entry, ...]:
    return tuple(Entry(name, "cat", size, digest) for name in names)


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        (entries("a", "b", "c"), entries("v"), ""),
        (entries("a", "aa", "b", "bb", "c"), entries("v"), "train/aa was added, and 1 more"),
        (entries("b"), entries("v"), "train/a was removed, and 1 more"),
        (entries("a", "x", "c"), entries("v"), "train/x was added, and 1 more"),
        (entries("b", "a", "c"), entries("v"), "the images of train come in another order"),
        (entries("a", "b", "c", size=6), entries("v"), "train/a had 5 bytes, now 6, and 2 more"),
        (entries("a", "b", "c"), entries("w"), "val/w was added, and 1 more"),
    ],
)
def test_the_first_difference(train: tuple[Entry, ...], val: tuple[Entry, ...], words: str) -> None:
    assert first_difference(DataRecord(entries("a", "b", "c"), entries("v")), DataRecord(train, val)) == words


def test_of_much_data_only_a_share_is_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(file.stat().st_size for file in (data / "train").rglob("*.png"))
    monkeypatch.setattr(module, "_READ_BYTES", -(-total // 2))
    record = of_folder(data)
    read = [entry.name for entry in record.train if entry.digest]
    assert 8 <= len(read) <= 31
    assert all(entry.digest for entry in record.val), "these are less than that, and read whole"
    (data / "train/cat/000.png").write_bytes((data / "train/cat/00.png").read_bytes())
    assert first_difference(record, of_folder(data)) == "train/cat/000.png was added"
    for entry in record.train:
        file = data / "train" / entry.name
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    (data / "train/cat/000.png").unlink()
    more = f", and {len(read) - 1} more"
    assert first_difference(record, of_folder(data)) == f"train/{read[0]} has other contents{more}"


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"train": 1, "val": 2}'])
def test_a_record_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "data.json").write_bytes(content)
    assert read_record(tmp_path / "data.json") is None
