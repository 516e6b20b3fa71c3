"""Packages of Debian and PyPI: brought as they are pinned, or not at all."""

from __future__ import annotations

import io
import subprocess
import tarfile
import urllib.error
import zipfile
from types import SimpleNamespace

import pytest

from edge_moe import DataError, IntegrityError
from edge_moe.benchmarks import fetch
from edge_moe.benchmarks.fetch import Deb, Wheel, unpack, unzip
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
