"""From the partial folder to the bundle's place: what is published, what is kept for the next try, what is cleared."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edge_moe.bundle import Bundle
from edge_moe.converters.report import FILE
from edge_moe.errors import BundleError, OutputError
from edge_moe.ledger import forget, owned, remove_own, works
from edge_moe.output import writing
from edge_moe.work import Work

__all__ = ["OWN", "PARTS", "REPORT", "STORE", "backends_of", "clear", "publish_bundle", "refuse_fewer"]

STORE = "parts"  # in the partial folder; all that is worth keeping of a conversion that was stopped
PARTS = (f"{STORE}/{'[0-9a-f]' * 64}*",)  # named by digests
REPORT = (FILE, "parity.md", "layers.png")
OWN = (*PARTS, *REPORT, "*_samples.npy", "convert.log")  # what a conversion makes there, beside the bundle itself


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
    """Publish the bundle that is finished for `work`; converted parts stay in its folder, of the keys `keep`."""
    work.publish()
    for file in owned(work.folder, PARTS):
        if not file.name.startswith(tuple(keep)):
            forget(file)
    clear(work.folder)
    if not works(work.folder):
        work.drop()


def clear(partial: Path, *keep: str) -> None:
    """Leave in the folder `partial` only converted parts, the files `keep`, and what edge-moe did not make."""
    if not partial.is_dir():
        return
    with writing(partial):
        # What torch made of the fixed input is made in no time.
        worth = [file for file in owned(partial, PARTS) if file.suffix != ".npz"]
        remove_own(partial, OWN, keep=(*keep, *(PARTS if worth else ())))
