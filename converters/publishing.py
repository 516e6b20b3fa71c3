"""From the partial folder to the bundle's place: what is published, what is kept for the next try, what is cleared."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from edge_moe.bundle import Bundle
from edge_moe.errors import BundleError, OutputError
from edge_moe.output import publish, writing

__all__ = ["STORE", "backends_of", "clear", "keeps_parts", "publish_bundle", "refuse_fewer"]

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


def publish_bundle(partial: Path, out: Path, *, keep: Collection[str]) -> None:
    """Move the finished bundle to `out`, without the converted parts; those under the keys `keep` stay in `partial`."""
    store, log, aside = partial / STORE, partial / "convert.log", partial.with_name(f".{partial.name}.kept")
    with writing(partial):
        shutil.rmtree(aside, ignore_errors=True)
        for file in store.iterdir():
            if not file.name.startswith(tuple(keep)):
                file.unlink()
        kept = _has_parts(store)
        if kept:
            store.rename(aside)
        else:
            shutil.rmtree(store)
        log.unlink(missing_ok=True)
    try:
        publish(partial, out)
    finally:
        if kept:
            with writing(partial):
                partial.mkdir(exist_ok=True)
                aside.rename(store)


def clear(partial: Path, *keep: str) -> None:
    """Leave in the folder `partial` only converted parts, and the files `keep`; remove it if it has neither."""
    if not partial.is_dir():
        return
    with writing(partial):
        for path in partial.iterdir():
            if path.is_dir() and path.name != STORE:
                shutil.rmtree(path)
            elif path.is_file() and path.name not in keep:
                path.unlink()
        store = partial / STORE
        if store.is_dir() and not _has_parts(store):
            shutil.rmtree(store)
        if not any(partial.iterdir()):
            partial.rmdir()


def keeps_parts(partial: Path) -> bool:
    """Return whether the next try finds something in the folder `partial`."""
    store = partial / STORE
    return store.is_dir() and _has_parts(store)


def _has_parts(store: Path) -> bool:
    """Return whether there is more than what torch made of the fixed input, which is made in no time."""
    return any(file.suffix != ".npz" for file in store.iterdir())
