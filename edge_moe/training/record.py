"""The record of the images that a run started on. It goes on with the very same, or not at all.

Embeddings, the gate and every draw belong to images by their place in the list. One image more or less moves all that
follow, and nothing else would notice.

Recorded are, for training and validation images in their order: the name below the folder (so that the data may be
moved), the class, the size in bytes, and a digest of the contents. Up to 2 GiB of files are read for that; of more,
the contents of that share of the files, drawn by name: a change of name, number, order or size is always seen, one of
the contents alone in those.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_moe.checkpoint import DataDigest
from edge_moe.data import LabelledImages
from edge_moe.errors import DataError
from edge_moe.text import nfc

__all__ = ["RECORD", "DataRecord", "first_difference", "read_record", "record_data"]

RECORD = "data.json"
_READ_BYTES = 2 << 30  # as much as training keeps of decoded images


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):  # there may be millions
    """One image. `digest` is "" where its contents were not read."""

    name: str
    label: str
    size_bytes: int
    digest: str


class DataRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """data.json: the images in their order."""

    train: tuple[Entry, ...]
    val: tuple[Entry, ...]

    def digest(self) -> DataDigest:
        """Return what a checkpoint keeps of it."""
        return DataDigest(len(self.train), _sha256(self.train), len(self.val), _sha256(self.val))


def record_data(train: LabelledImages, val: LabelledImages) -> DataRecord:
    """Return the record of these images.

    Raises:
        DataError: a file cannot be read.
    """
    return DataRecord(_entries(train), _entries(val))


def read_record(file: Path) -> DataRecord | None:
    """Return the record in `file`; None if there is none, or a damaged one."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=DataRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def first_difference(then: DataRecord, now: DataRecord) -> str:
    """Say in which image, and how, `now` first differs from `then`, and how many do; "" if they are the same."""
    differences = []
    for split in ("train", "val"):
        before, after = getattr(then, split), getattr(now, split)
        if before == after:
            continue
        old, new = ({entry.name: entry for entry in entries} for entries in (before, after))
        found = [f"{split}/{name} was added" for name in new if name not in old]
        found += [f"{split}/{name} was removed" for name in old if name not in new]
        changes = ((name, _change(old[name], new[name])) for name in new if name in old)
        found += [f"{split}/{name} {change}" for name, change in changes if change]
        differences += found or [f"the images of {split} come in another order"]
    if not differences:
        return ""
    return differences[0] + (f", and {len(differences) - 1} more" if len(differences) > 1 else "")


def _change(then: Entry, now: Entry) -> str:
    if then.label != now.label:
        return f"was {then.label!r}, now {now.label!r}"
    if then.size_bytes != now.size_bytes:
        return f"had {then.size_bytes} bytes, now {now.size_bytes}"
    return "has other contents" if then.digest and now.digest and then.digest != now.digest else ""


def _entries(images: LabelledImages) -> tuple[Entry, ...]:
    try:
        sizes = [_size(source) for source in images.sources]
        names = [_name(source, index, images.name) for index, source in enumerate(images.sources)]
        labels = [nfc(name) for name in images.classes]
        every = max(1, -(-sum(sizes) // _READ_BYTES))
        return tuple(
            Entry(name, labels[label], size, "" if zlib.crc32(name.encode()) % every else _content_digest(source))
            for name, label, size, source in zip(names, images.labels, sizes, images.sources, strict=True)
        )
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read: {error.strerror}; mend it, or take it out of {images.name}"
        ) from None


def _name(source: Any, index: int, folder: str) -> str:
    """Return the name below `folder`, the same wherever that is; of an image that is no file, its number."""
    if not isinstance(source, Path):
        return str(index)
    name, inside = str(source), folder + os.sep
    name = name[len(inside) :] if name.startswith(inside) else os.path.relpath(name, folder)
    return nfc(name.replace(os.sep, "/"))


def _size(source: Any) -> int:
    return source.stat().st_size if isinstance(source, Path) else int(source.nbytes)


def _content_digest(source: Path | npt.NDArray[np.uint8]) -> str:
    """Return 128 bits of SHA-256: of a file's bytes, or of the type, the shape and the values of an array."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    else:
        digest = hashlib.sha256(f"{source.dtype.str}{source.shape}".encode())
        digest.update(np.ascontiguousarray(source).tobytes())
    return digest.hexdigest()[:32]


def _sha256(entries: Sequence[Entry]) -> str:
    return hashlib.sha256(msgspec.json.encode(entries)).hexdigest()
