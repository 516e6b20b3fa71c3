"""What an unfinished measurement has found so far: its job, traces and finished rounds, in a folder beside its target.

A round is kept as the line that it came as, one a file, each with its digest: what was damaged is measured again, and
nothing before it. It is written when it is whole, so that a run that was killed goes on with the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge_moe.ledger import forget, is_done, keep
from edge_moe.work import Work, making

__all__ = ["JOB", "Journal", "journal", "journal_path"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

# What is made on the way: by `benchmarks.peers.stock`, by the sweep, and by its target.
_STOCK = ("stock/base.npy", "stock/expert.npy", "stock/*-base*", "stock/*-expert*", "stock/convert.log")
JOB = "job"  # the job itself, which goes when its target has answered
_OWN = ("trace-*.json", "there-*.json", "opening.json", "round-*.json", "sustained.json", JOB, "target/*", *_STOCK)


def journal_path(target: Path) -> Path:
    """Return the folder in which the rounds of an unfinished `target` are kept."""
    return target.parent / f"{target.name}.unfinished"


@contextmanager
def journal(target: Path, key: Any, *, force: bool = False, reads: tuple[Any, ...] = ()) -> Iterator[Journal]:
    """Open the journal of `target`, or begin it; nobody else makes the target as long as it is open.

    Args:
        target: the folder that will hold the report.
        key: all that the figures depend on, by names; rounds of another key are not mixed with these.
        force: the target may be there.
        reads: what must not be in the target.

    Raises:
        OutputError: as `edge_moe.work.making` and `Work.take_up`.
    """
    with making(target, "bench", force=force, reads=reads, folder=journal_path(target), own=_OWN) as work:
        work.take_up(key, own=_STOCK)
        yield Journal(work)


class Journal:
    """A folder of JSON files by name."""

    def __init__(self, work: Work) -> None:
        """`work`: taken up."""
        self._work, self.folder, self.sittings = work, work.folder, work.sittings

    def get(self, name: str, type: type[T], fits: Callable[[T], bool] = lambda _: True) -> T | None:
        """Return what was kept under `name`; None where there is nothing, or nothing that `fits` what is measured."""
        file = self._file(name)
        if not is_done(file):
            return None
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            found = msgspec.json.decode(file.read_bytes(), type=type)
            if fits(found):
                return found
        _log.info("%s in %s is not of this measurement: it is made anew", file.name, self.folder)
        forget(file)
        return None

    def has(self, name: str) -> bool:
        """Return whether something is kept under `name`."""
        return is_done(self._file(name))

    def put(self, name: str, value: Any) -> None:
        """Keep `value` under `name`.

        Raises:
            OutputError: no space, no permission.
        """
        keep(self._file(name), msgspec.json.encode(value))

    def drop(self) -> None:
        """Forget everything: the report stands."""
        self._work.drop()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"
