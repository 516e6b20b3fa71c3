"""What is done of an unfinished training, and whether it goes with what else is there.

A gate is made from a base, an expert from a base and a gate. If a base has to be made anew and turns out to be another
one (a processor rounds otherwise), what was made from the former is no longer done.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from edge_moe.errors import CheckpointError
from edge_moe.ledger import Kept, enter, forget, is_done, keep, read_entry
from edge_moe.output import writing
from edge_moe.training.checkpoint import part_bytes

__all__ = ["AGREEMENT", "EMBEDDINGS", "Done"]

_log = logging.getLogger(__name__)

EMBEDDINGS, AGREEMENT = "embeddings.npy", "agreement.json"
_FROM: dict[str, tuple[str, ...]] = {
    "base.safetensors": (),
    "base.state": (),
    EMBEDDINGS: ("base",),
    "gate.safetensors": ("base",),
}  # all else is made from base and gate


class Done:
    """The files of a training in the folder of its work."""

    def __init__(self, folder: Path) -> None:
        """`folder`: swept, see `edge_moe.ledger.sweep`."""
        self.folder = folder

    def has(self, part: str) -> bool:
        """Return whether a part is done, and made from the others as they are."""
        kept = self.part(part)
        if is_done(kept.file, of=kept.of):
            return True
        if is_done(kept.file, of=None):
            _log.info("%s in %s was made from other parts: it is made anew", kept.file.name, self.folder)
        return False

    def file(self, name: str) -> Kept:
        """Return the file of this name, made from the parts that are there."""
        entries = [read_entry(self.folder / f"{part}.safetensors") for part in _FROM.get(name, ("base", "gate"))]
        return Kept(self.folder / name, " ".join(entry.now.sha256 for entry in entries if entry is not None))

    def part(self, part: str) -> Kept:
        """Return the file of a part."""
        return self.file(f"{part}.safetensors")

    def state(self, part: str) -> Kept:
        """Return the file of a part that is being trained."""
        return self.file(f"{part}.state")

    def keep(self, part: str, module: nn.Module) -> None:
        """Enter a part as done; its state goes."""
        kept = self.part(part)
        keep(kept.file, part_bytes(module), of=kept.of)
        forget(kept.file.with_suffix(".state"))

    def digests(self, parts: Sequence[str]) -> dict[str, str]:
        """Return part -> the SHA-256 of its file, as it was written; of `parts` that are done."""
        entries = {part: read_entry(self.part(part).file) for part in parts}
        return {part: entry.now.sha256 for part, entry in entries.items() if entry is not None}

    def take(self, checkpoint: Path, parts: Sequence[str]) -> None:
        """Take finished `parts`, the base and the gate first, from a checkpoint.

        Raises:
            CheckpointError: it has no such part.
        """
        for part in parts:
            kept = self.part(part)
            source = checkpoint / kept.file.name
            if not source.is_file():
                raise CheckpointError(f"{source} is missing; train or import again")
            with writing(kept.file):
                forget(kept.file)
                shutil.copy2(source, kept.file)
            enter(kept.file, of=kept.of)
