"""What a path is, where a file was expected."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edge_moe.files import no_file, why


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("x"), ""),
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: os.mkfifo(path), "is no file but a pipe"),
        (lambda path: path.symlink_to("/dev/null"), "is no file but a device"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which does not exist"),
        (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_it_is(tmp_path: Path, make, words: str) -> None:
    make(tmp_path / "it")
    assert no_file(tmp_path / "it") == words


def test_a_socket_and_names_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s")
        assert no_file(Path("s")) == "is no file but a socket"
    assert no_file(tmp_path / ("x" * 5000)).startswith("cannot be read: ")
    assert no_file(Path("a\0b")).startswith("cannot be read: ")


def test_reasons_are_never_empty() -> None:
    assert why(OSError(28, "No space left on device")) == "No space left on device"
    assert why(ValueError("embedded null byte")) == "embedded null byte"
    assert why(KeyError()) == "KeyError"
