"""Labels from a file: what is read, and what is refused."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from edge_moe.errors import UsageError
from edge_moe.training.labels import check_labels, read_labels


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n", ("cat", "dog")),  # as Windows' Notepad saves it
        (b"cat\rdog", ("cat", "dog")),
        (b"  cat \n\tred fox\n\n \n", ("cat", "red fox")),
        ("a\u2028b\n\x0cc\x85d".encode(), ("a\u2028b", "c\x85d")),  # line ends for Python's splitlines alone
        (unicodedata.normalize("NFD", "café\nzoë").encode(), ("café", "zoë")),
    ],
    ids=["plain", "byte order mark", "old Mac", "white space", "odd separators", "decomposed accents"],
)
def test_one_label_a_line(tmp_path: Path, data: bytes, labels: tuple[str, ...]) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    assert read_labels(tmp_path / "labels.txt") == labels


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"labels.txt does not exist; expected a text file in UTF-8 with one label a line"),
        ("cat\ndog".encode("utf-16"), r"is not a text file in UTF-8 \(it looks like UTF-16\).*save it again as UTF-8"),
        ("cat\ndog".encode("utf-16-le"), r"is not a text file in UTF-8 \(it looks like UTF-16\)"),
        ("Zürich".encode("latin-1"), r"is not a text file in UTF-8; expected"),
        (b"", "has no label; expected"),
        (b"\xef\xbb\xbf\n\n", "has no label; expected"),
        (b"cat\n\ndog\n", "has no label on line 2 of 3; .*fill it in or remove it"),
        (b"cat\ndog\ncat\n", "has the label 'cat' on line 1 and on line 3; expected different"),
        ("café\ncafe\u0301".encode(), "has the label 'café' on line 1 and on line 2"),
    ],
)
def test_what_is_refused(tmp_path: Path, data: bytes | None, message: str) -> None:
    file = tmp_path / "labels.txt"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(UsageError, match=message) as caught:
        read_labels(file)
    assert "\n" not in str(caught.value)


def test_as_many_labels_as_logits() -> None:
    check_labels(("a", "b"), "labels.txt", 2, "base.pth")
    with pytest.raises(UsageError, match=r"labels.txt has 2 labels, and base.pth gives 3 logits; expected one label"):
        check_labels(("a", "b"), "labels.txt", 3, "base.pth")
