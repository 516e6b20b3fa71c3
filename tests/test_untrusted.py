"""Files of somebody else: how much of one is read, and how what is wrong with it is told."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe import CheckpointError, untrusted
from edge_moe.bundle import Bundle, BundleError
from edge_moe.checkpoint import read_config
from edge_moe.errors import EdgeMoeError
from edge_moe.untrusted import Malformed


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: int


def test_what_is_sound_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"x": 3}')
    assert untrusted.as_record(untrusted.parsed(untrusted.read(tmp_path / "a.json")), Point) == Point(3)


def test_no_more_is_read_than_is_allowed(tmp_path):
    (tmp_path / "a.json").write_bytes(b"12345")
    assert untrusted.read(tmp_path / "a.json", most=5) == b"12345"
    with pytest.raises(Malformed, match=r"^it has more than 4 bytes$"):
        untrusted.read(tmp_path / "a.json", most=4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "Input data was truncated"),
        (b'{"x": "\xff"}', "'utf-8' codec can't decode"),
        (b"[" * 100_000, r"^it is nested too deep$"),
        (b"[" * 100_000 + b"]" * 100_000, r"^it is nested too deep$"),
        (b"", "Input data was truncated"),
    ],
)
def test_what_is_no_json(data, message):
    with pytest.raises(Malformed, match=message):
        untrusted.parsed(data)


def test_a_message_quotes_a_line_of_the_file_at_most():
    for name in ("y" * 5000, "y\n\x1b[31m" * 500):
        with pytest.raises(Malformed, match="unknown field `y") as caught:
            untrusted.as_record({"x": 3, name: 4}, Point)
        assert len(str(caught.value)) <= 200
        assert str(caught.value).isprintable()


def test_a_value_is_quoted_where_it_is_one():
    found = [str(untrusted.OtherVersion(one)) for one in (3, None, "3", [3], {})]
    assert found == ["3", "None", "3", "list", "dict"]
    assert len(str(untrusted.OtherVersion("9" * 5000))) <= 40


@pytest.mark.parametrize(("name", "read"), [("manifest.json", Bundle), ("config.json", read_config)])
def test_a_large_file_is_not_read_into_memory(tmp_path, name, read):
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 30)  # without a block on the disk
    with pytest.raises((BundleError, CheckpointError), match="it has more than 16,777,216 bytes; "):
        read(tmp_path)


@pytest.mark.parametrize(("name", "read"), [("manifest.json", Bundle), ("config.json", read_config)])
def test_nested_files_and_versions_that_are_none(tmp_path, name, read):
    (tmp_path / name).write_bytes(b'{"schema_version": ' + b"[" * 50_000 + b"]" * 50_000 + b"}")
    with pytest.raises(EdgeMoeError, match="it is nested too deep; "):
        read(tmp_path)
    (tmp_path / name).write_bytes(b'{"schema_version": "\\u001b[2J' + b"9" * 5000 + b'"}')
    with pytest.raises(EdgeMoeError, match=r"has schema version \\x1b\[2J9+ \.\.\. 9+; this") as caught:
        read(tmp_path)
    assert len(str(caught.value).rpartition(name)[2]) < 200
