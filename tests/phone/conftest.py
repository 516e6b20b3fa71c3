"""A phone for a test, and its adb client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.phone.phone import Phone


def left(folder: Path) -> list[str]:
    """Return the command lines of this machine that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.fixture
def phone(tmp_path):
    folder = tmp_path / "the-phone"
    folder.mkdir()
    with Phone(folder) as phone:
        yield phone
    assert not left(folder) and not list(folder.iterdir())


@pytest.fixture
def client(phone):
    with phone.client() as client:
        yield client


@pytest.fixture
def device(client, phone):
    return client.device(phone.serial)
