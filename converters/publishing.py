"""From the partial folder to the bundle's place: what is published, what is kept for the next try, what is cleared."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from edge_moe.bundle import Bundle
from edge_moe.errors import BundleError, OutputError
from edge_moe.ledger import SCAFFOLD, forget
from edge_moe.output import writing
from edge_moe.work import Work

__all__ = ["STORE", "backends_of", "clear", "publish_bundle", "refuse_fewer"]

_LOG = "convert.log"
STORE = "parts"  # in the partial folder; all that is worth keeping of a conversion that was stopped


def backends_of(path: Path) -> tuple[str, ...]:
    """Return the backends of the bundle `path`; none where nothing is there, or nothing that can be read."""
    try:
        return tuple(dict.fromkeys(one.backend for one in Bundle(path).manifest.sets))
    except BundleError:
        return ()


def refuse_fewer(out: Path, asked: Collection[str]) -> None:
    """Raise OutputError if the bundle `out` has more backends than are `asked` for: none is replaced by half of one."""
    there = backends_of(out)
    lost = [name for name in there if name not in asked]
    if len(asked) < len(there):
        every = dict.fromkeys((*there, *asked))
        raise OutputError(
            f"{out} has {', '.join(there)}, and --force would leave it without {', '.join(lost)}; add "
            f"--backend {','.join(every)}, choose another target, or remove it first"
        )


def publish_bundle(work: Work, *, keep: Collection[str]) -> None:
    """Publish the bundle that is finished in the folder of `work`; converted parts stay there, of the keys `keep`."""
    work.gather("*", without=(STORE, _LOG))
    work.publish()
    store = work.folder / STORE
    with writing(store):
        for file in _files(store):
            if not file.name.startswith(tuple(keep)):
                forget(file)
    clear(work.folder)


def clear(partial: Path, *keep: str) -> None:
    """Leave in the folder `partial` only converted parts, and the files `keep`."""
    if not partial.is_dir():
        return
    with writing(partial):
        for path in partial.iterdir():
            if path.is_dir() and path.name not in (STORE, SCAFFOLD):
                shutil.rmtree(path)
            elif path.is_file() and path.name not in keep:
                path.unlink()
        store = partial / STORE
        # What torch made of the fixed input is made in no time.
        if store.is_dir() and all(file.suffix == ".npz" for file in _files(store)):
            shutil.rmtree(store)


def _files(store: Path) -> list[Path]:
    return [file for file in store.iterdir() if file.is_file()]
