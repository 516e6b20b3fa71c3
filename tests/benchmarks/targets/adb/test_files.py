"""Files on a phone: hashed there whatever they are called, and sent once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_moe.benchmarks.targets.adb.files import Files
from edge_moe.errors import BackendError

ODD = ("a b.txt", "$(touch ran)", "'; touch ran; '", "-n", "back\\slash", "folder/plain")


class Here:
    """A phone whose shell is this machine's."""

    name = "adb:here"

    def __init__(self) -> None:
        self.sent: list[str] = []

    def shell(self, command):
        return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout

    def push(self, data, there, *, executable=False):
        self.sent.append(there)
        Path(there).parent.mkdir(parents=True, exist_ok=True)
        Path(there).write_bytes(data if "altered" not in there else data + b"!")

    def free_bytes(self, folder):
        return 1 << 40


def test_odd_names_are_names(tmp_path):
    phone, folder = Here(), tmp_path / "with a space"
    folder.mkdir()
    files = Files(phone, str(folder))
    files.put({name: name.encode() for name in ODD})
    assert [Path(one).relative_to(folder).as_posix() for one in phone.sent] == list(ODD)
    assert not list(tmp_path.rglob("ran"))
    files.put({name: name.encode() for name in ODD})
    assert len(phone.sent) == len(ODD)  # they are there


def test_other_bytes_than_were_sent(tmp_path):
    with pytest.raises(BackendError, match="other bytes in altered than were sent"):
        Files(Here(), str(tmp_path)).put({"altered": b"x"})
