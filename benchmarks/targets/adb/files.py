"""A folder on a phone, and what is in it: written once, hashed there."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.errors import BackendError
from edge_moe.progress import Progress, Silent
from edge_moe.records import sha256

__all__ = ["Files"]

_SPARE = 16 << 20  # bytes that stay free on a phone
_AT_ONCE = 50  # files that one command hashes: a line of a shell has an end


class Files:
    """See the module."""

    def __init__(self, phone: Phone, folder: str) -> None:
        """`folder`: there already."""
        self._phone, self.folder = phone, folder
        self._there: dict[str, str] = {}  # name -> digest

    def put(self, files: Mapping[str, bytes], progress: Progress | None = None, *, executable: bool = False) -> None:
        """Write files into the folder, those that are not there already, and have the phone hash them.

        Raises:
            BackendError: no space, other bytes than were sent, or the phone is gone.
        """
        progress, step = progress or Silent(), f"sending to {self._phone.name}"
        digests = {name: sha256(data) for name, data in files.items()}
        new = {name: data for name, data in files.items() if self._there.get(name) != digests[name]}
        if not new:
            return
        needed, free = sum(map(len, new.values())), self._phone.free_bytes(self.folder)
        if free < needed + _SPARE:
            raise BackendError(
                f"{self._phone.name} is full: {free >> 20} MiB are free, and {(needed + _SPARE) >> 20} are needed; "
                "make room, and repeat the command"
            )
        if len(new) > 1:
            progress.start(step, len(new))
        for name, data in new.items():
            self._phone.push(data, f"{self.folder}/{name}", executable=executable)
            if len(new) > 1:
                progress.advance(step, name)
        self._check({name: digests[name] for name in new})

    def _check(self, digests: Mapping[str, str]) -> None:
        names = list(digests)
        for place in range(0, len(names), _AT_ONCE):
            some = names[place : place + _AT_ONCE]
            named = " ".join(quote(f"./{name}") for name in some)  # whatever a name begins with, it is no option
            told = self._phone.shell(f"cd {quote(self.folder)} && sha256sum {named}")
            digests_there = [line.lstrip("\\").split()[0] for line in told.splitlines()]  # "\\": of an odd name
            for name, digest in zip(some, digests_there, strict=True):
                if digest != digests[name]:
                    raise BackendError(
                        f"{self._phone.name} has other bytes in {name} than were sent; repeat the command"
                    )
                self._there[name] = digest
