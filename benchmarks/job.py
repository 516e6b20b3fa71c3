"""The job folder: what goes out to a target, and the lines that come back.

    plan.json       what to measure, see wire.Plan
    bundle/         the bundle; here a link, on another machine what was copied
    inputs.npy      float32 [T, H, W, 3]: the input tensors of the timed images
    images/         the files that they were made of, so that preprocessing can be costed too
    rounds.jsonl    the answer: the opening, then one round a line, each written whole when it is done

Axis letters: T timed images, H W height and width.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_moe.backends import Tensor
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Opening, Plan, Round
from edge_moe.bundle import ArtifactSet, Bundle
from edge_moe.errors import DataError
from edge_moe.ledger import remove
from edge_moe.manifest import MANIFEST, files
from edge_moe.operating import OPERATING
from edge_moe.output import write_file, writing
from edge_moe.records import to_json
from edge_moe.sets import SetKey

__all__ = [
    "BUNDLE",
    "IMAGES",
    "INPUTS",
    "PLAN",
    "ROUNDS",
    "Job",
    "bundle_files",
    "image_names",
    "read_job",
    "read_rounds",
    "write_job",
]

T = TypeVar("T")

PLAN, BUNDLE, INPUTS, IMAGES, ROUNDS = "plan.json", "bundle", "inputs.npy", "images", "rounds.jsonl"


@dataclass(frozen=True)
class Job:
    """A job folder that lies on this machine."""

    folder: Path
    plan: Plan
    bundle: Bundle
    # On this machine only: what the peers that need one are made from, and a folder for what a target makes on the way,
    # which is kept as long as the measurement is not finished.
    checkpoint: Path | None = None
    kept: Path | None = None

    @cached_property
    def inputs(self) -> list[Tensor]:
        """T input tensors, float32 [1, H, W, 3]."""
        return [np.ascontiguousarray(one[np.newaxis]) for one in np.load(self.folder / self.plan.inputs)]

    @property
    def images(self) -> list[Path]:
        """T image files, which the input tensors were made of."""
        return [self.folder / name for name in self.plan.images]

    @cached_property
    def sets(self) -> tuple[ArtifactSet, ...]:
        """The sets of the plan, in its order."""
        there = {one.key: one for one in self.bundle.manifest.sets}
        return tuple(there[SetKey.parse(one.set)] for one in self.plan.sets)


def write_job(
    folder: Path,
    bundle: Bundle,
    plan: Plan,
    inputs: Sequence[Tensor],
    sources: Sequence[Path | npt.NDArray[np.uint8]],
    *,
    checkpoint: Path | None = None,
    kept: Path | None = None,
) -> Job:
    """Write the job into `folder`, which may hold the same one already; return it.

    Args:
        folder: made if it is not there; only the files named above are touched.
        bundle: that is measured.
        plan: with the names of this module.
        inputs: T tensors, float32 [1, H, W, 3].
        sources: T images, files or uint8 arrays, which are written as PNG files.
        checkpoint: see `Job`.
        kept: see `Job`.

    Raises:
        OutputError: no space, no permission.
    """
    with writing(folder):
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        _link(bundle.path, folder / plan.bundle)
        np.save(folder / plan.inputs, np.concatenate(list(inputs)))
        for name, source in zip(plan.images, sources, strict=True):
            if isinstance(source, Path):
                _link(source, folder / name)
            else:
                Image.fromarray(source.squeeze()).save(folder / name, compress_level=1)
        write_file(folder / PLAN, to_json(plan))
    return Job(folder, plan, bundle, checkpoint, kept)


def bundle_files(bundle: Bundle, prefix: str = "bundle/") -> dict[str, Path]:
    """Return name -> file of all that the bundle's manifest names, itself, and operating.json."""
    names = [MANIFEST, OPERATING, *(one.file for one in files(bundle.manifest))]
    return {prefix + name: bundle.path / name for name in names}


def image_names(sources: Sequence[Path | npt.NDArray[np.uint8]]) -> tuple[str, ...]:
    """Return what the files of these images are called in a job: a number, and what says how to read them."""
    return tuple(
        f"{IMAGES}/{place:04d}{source.suffix.lower() if isinstance(source, Path) else '.png'}"
        for place, source in enumerate(sources)
    )


def read_job(folder: Path) -> Job:
    """Read a job that came from another machine.

    Raises:
        DataError: there is none, or it is of another schema.
        BundleError: its bundle cannot be used.
    """
    try:
        plan = msgspec.json.decode((folder / PLAN).read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"{folder} holds no job: {error}; expected {PLAN} as 'edge-moe bench' writes it") from None
    if plan.schema_version != SCHEMA_VERSION:
        raise DataError(f"{folder} has a job of schema {plan.schema_version}; this edge-moe answers {SCHEMA_VERSION}")
    return Job(folder, plan, Bundle(folder / plan.bundle))


def read_rounds(file: Path) -> tuple[Opening, Iterator[Round]]:
    """Return the opening of a rounds.jsonl and its rounds, as far as they are written whole.

    Raises:
        DataError: there is no such file, or a line is not what it should be.
    """
    try:
        whole, _, _ = file.read_bytes().rpartition(b"\n")  # what follows the last line break was cut off by a kill
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}; expected the answer to a job") from None
    first, *others = whole.split(b"\n")

    def rounds() -> Iterator[Round]:
        for number, line in enumerate(others, 2):
            yield _decoded(file, number, line, Round)

    return _decoded(file, 1, first, Opening), rounds()


def _decoded(file: Path, number: int, line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        what = kind.__name__.lower()
        raise DataError(f"line {number} of {file} is no {what}: {error}; measure again") from None


def _link(source: Path, there: Path) -> None:
    """Let `there` be `source`; a copy where the file system has no links."""
    remove(there)
    try:
        there.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    except OSError:
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, there)
