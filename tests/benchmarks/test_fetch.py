"""Packages of Debian, PyPI and npm: brought as they are pinned, or not at all."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile
import urllib.error
import zipfile
from hashlib import sha512
from types import SimpleNamespace

import pytest

from edge_moe import DataError, IntegrityError
from edge_moe.benchmarks import fetch
from edge_moe.benchmarks.fetch import Deb, Npm, Wheel, unpack, untar, unzip
from edge_moe.records import sha256


def deb(**files):
    """An ar archive as dpkg-deb writes it: name of the file in lib/ -> bytes, or where the link of that name leads."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./usr/lib/{name}")
            if isinstance(content, bytes):
                entry.size, entry.mode = len(content), 0o755
                archive.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
    members = [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", inner.getvalue())]
    made = b"!<arch>\n"
    for name, data in members:
        made += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return made


def test_files_of_a_deb(tmp_path):
    package = deb(libone=b"code", two="libone", three="/lib/two")
    unpack(package, ("two", "three"), tmp_path / "there")
    assert {one.name: one.read_bytes() for one in (tmp_path / "there").iterdir()} == {"two": b"code", "three": b"code"}
    assert (tmp_path / "there/two").stat().st_mode & 0o100
    with pytest.raises(DataError, match="no four"):
        unpack(package, ("four",), tmp_path)
    with pytest.raises(DataError, match="no data"):
        unpack(package[:8], ("two",), tmp_path)


def test_files_of_a_wheel(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("it/lib/a.so", b"a")
        archive.writestr("it/include/deep/b.h", b"b")
    unzip(data.getvalue(), {"x.so": "it/lib/a.so", "include": "it/include/"}, tmp_path)
    found = {str(one.relative_to(tmp_path)): one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    assert found == {"x.so": b"a", "include/deep/b.h": b"b"}
    with pytest.raises(DataError, match=r"no it/lib/c\.so"):
        unzip(data.getvalue(), {"c": "it/lib/c.so"}, tmp_path)


@pytest.fixture
def archives(monkeypatch):
    """Address -> what is there; one that is not here cannot be reached."""
    there, asked = {}, []

    def urlopen(address, timeout):
        asked.append(address)
        if address not in there:
            raise urllib.error.URLError("no route")
        return io.BytesIO(there[address])

    monkeypatch.setattr(fetch.urllib.request, "urlopen", urlopen)
    return SimpleNamespace(there=there, asked=asked)


DEB = Deb(
    path="debian/pool/main/o/one/one_1_all.deb",
    size_bytes=4,
    sha256=sha256(b"data"),
    files=("one",),
    seen="20260101T0Z",
)
NOW, OLD = (
    "http://deb.debian.org/debian/pool/main/o/one/one_1_all.deb",
    "http://snapshot.debian.org/archive/debian/20260101T0Z/pool/main/o/one/one_1_all.deb",
)


def test_a_package_of_debian(archives):
    archives.there |= {NOW: b"data"}
    assert DEB.fetch() == b"data"
    assert archives.asked == [NOW]


def test_one_that_is_not_current_is_in_the_archive_of_all(archives):
    archives.there |= {OLD: b"data"}
    assert DEB.fetch() == b"data"
    assert archives.asked == [NOW, OLD]


def test_debian_cannot_be_reached(archives):
    with pytest.raises(DataError, match=rf"one_1_all.deb cannot be fetched \({NOW}: no route\); connect to a network"):
        DEB.fetch()


def test_other_bytes_are_not_used(archives):
    archives.there |= {NOW: b"other"}
    with pytest.raises(IntegrityError, match=r"one_1_all.deb has sha256 .* is pinned; it is not used"):
        DEB.fetch()


def pip(monkeypatch, *, files=(), code=0, said=""):
    def run(command, **_):
        folder = fetch.Path(command[command.index("--dest") + 1])
        for name in files:
            (folder / name).write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(fetch.subprocess, "run", run)


WHEEL = Wheel(name="one", version="1.2", platform="manylinux_aarch64", size_bytes=5, sha256=sha256(b"wheel"))


def test_a_wheel(monkeypatch):
    pip(monkeypatch, files=["one-1.2.whl"])
    assert WHEEL.fetch() == b"wheel"


def test_pypi_cannot_be_reached(monkeypatch):
    pip(monkeypatch, code=1, said="WARNING: retrying\nERROR: No matching distribution found for one==1.2\n")
    said = (
        "one 1.2 for manylinux_aarch64 cannot be fetched: ERROR: No matching distribution found for one==1.2; connect"
    )
    with pytest.raises(DataError, match=said):
        WHEEL.fetch()


def test_another_wheel_is_not_used(monkeypatch):
    pip(monkeypatch, files=["one-1.2.whl"])
    with pytest.raises(IntegrityError, match=r"one 1.2 .* is pinned"):
        Wheel(name="one", version="1.2", platform="any", size_bytes=5, sha256=sha256(b"another")).fetch()


NPM = Npm(
    name="@one/two",
    version="1.2",
    size_bytes=4,
    integrity=f"sha512-{base64.b64encode(sha512(b'data').digest()).decode()}",
)


@pytest.fixture
def no_npm(monkeypatch):
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)


def test_a_package_of_npm(archives, no_npm):
    archives.there |= {"https://registry.npmjs.org/@one/two/-/two-1.2.tgz": b"data"}
    assert NPM.fetch() == b"data"


@pytest.mark.parametrize("address", ["https://mirror.example/npm", "https://mirror.example/npm/"])
def test_it_comes_from_the_registry_of_the_user(archives, monkeypatch, address):
    archives.there |= {"https://mirror.example/npm/@one/two/-/two-1.2.tgz": b"data"}
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", address)
    assert NPM.fetch() == b"data"
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(
        fetch.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, f"{address}\n", "")
    )
    assert NPM.fetch() == b"data"


def test_npm_cannot_be_reached(archives, no_npm):
    with pytest.raises(DataError, match=r"@one/two 1.2 cannot be fetched \(no route\); connect to a network that"):
        NPM.fetch()


def test_another_package_of_npm_is_not_used(archives, no_npm):
    archives.there |= {"https://registry.npmjs.org/@one/two/-/two-1.2.tgz": b"other"}
    with pytest.raises(IntegrityError, match=r"@one/two 1.2 has sha512-.* is pinned; it is not used"):
        NPM.fetch()


def test_files_of_a_package_of_npm(tmp_path):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/dist/a.js")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"code"))
    untar(data.getvalue(), {"deep/a.js": "dist/a.js"}, tmp_path)
    assert (tmp_path / "deep/a.js").read_bytes() == b"code"
    with pytest.raises(DataError, match=r"no dist/b\.js"):
        untar(data.getvalue(), {"b.js": "dist/b.js"}, tmp_path)
