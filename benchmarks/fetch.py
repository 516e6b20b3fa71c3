"""Bringing pinned packages of Debian, PyPI and npm, and taking files out of them, without installing anything.

None needs rights: a .deb is unpacked here, a wheel may be one for another processor, and npm need not be there.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import os
import shutil
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

__all__ = ["Deb", "Npm", "Wheel", "unpack", "untar", "unzip"]

# What is current, and everything that ever was. Digests are pinned, so that nobody has to be trusted on the way.
_DEBIAN, _OLD = "http://deb.debian.org/", "http://snapshot.debian.org/archive/"
_NPM = "https://registry.npmjs.org/"  # where nobody has set another one
_TIMEOUT_S = 60.0
_FIELD = slice(48, 58)  # of an ar header: the size
_TOLD = 19  # characters of a digest


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
                data = _get(address)
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


class Npm(Strict, frozen=True):
    """A package of npm."""

    name: str
    version: str
    size_bytes: Count
    integrity: str  # sha512-..., as package-lock.json has it

    def fetch(self) -> bytes:
        """Return the package, from the registry that the user's npm is set to.

        Raises:
            DataError: it cannot be had.
            IntegrityError: it has other bytes than were pinned.
        """
        what = f"{self.name} {self.version}"
        address = f"{_registry()}{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"
        try:
            data = _get(address)
        except (OSError, urllib.error.URLError) as error:
            raise DataError(
                f"{what} cannot be fetched ({getattr(error, 'reason', error)}); connect to a network that reaches npm, "
                "and repeat"
            ) from None
        found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        if found != self.integrity:
            raise _other(what, found, self.integrity)
        return data


def _registry() -> str:
    """Return the address of the user's registry, which npm knows where it is installed."""
    given = os.environ.get("NPM_CONFIG_REGISTRY", "")
    if not given and (npm := shutil.which("npm")):
        given = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True).stdout.strip()
    return f"{given.rstrip('/')}/" if given.startswith(("http://", "https://")) else _NPM


def _get(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
            data: bytes = answer.read()
    except http.client.HTTPException as error:  # cut off in the middle, or no HTTP at all
        raise OSError(f"{type(error).__name__}: {error}") from None
    return data


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


def untar(package: bytes, members: Mapping[str, str], folder: Path) -> None:
    """Write files of a package of npm into `folder`: name there -> path in the package.

    Raises:
        DataError: the package has no such file.
        OSError: no space, no permission.
    """
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        there = {one.name.partition("/")[2]: one for one in archive.getmembers() if one.isreg()}
        for name, path in members.items():
            content = archive.extractfile(there[path]) if path in there else None
            if content is None:
                raise DataError(f"a package of npm has no {path}; report this")
            _write(folder / name, content.read(), executable=False)


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
        raise _other(what, f"sha256 {found}", f"sha256 {expected}")
    return data


def _other(what: str, found: str, expected: str) -> IntegrityError:
    return IntegrityError(
        f"{what} has {found[:_TOLD]}..., but {expected[:_TOLD]}... is pinned; it is not used: repeat the command, or "
        "report it"
    )
