from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_moe.text import in_csv, in_markdown, is_text, nfc, one_line, printable


def test_accents_are_composed():
    assert nfc("cafe\u0301") == nfc("caf\u00e9") == "caf\u00e9"


def test_bytes_that_are_no_text_are_seen_and_shown():
    name = os.fsdecode(b"caf\xe9.png")
    assert not is_text(name)
    assert is_text("caf\u00e9 \U0001f408")
    assert printable(name) == printable(Path(name)) == "caf\\xe9.png"
    assert printable("caf\u00e9.png") == "caf\u00e9.png"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("gpj.\u202ephoto", "gpj.\\u202ephoto"),  # turns the direction of writing
        ("a\x00b\x9bc", "a\\x00b\\x9bc"),
        ("\ud800", "\\ud800"),
        ("caf\udce9\x07", "caf\\xe9\\x07"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),  # one sign, made of two
        ("\u732b 100%", "\u732b 100%"),
    ],
)
def test_what_is_no_character_is_escaped(name, expected):
    assert printable(name) == expected


def test_one_line():
    assert one_line("  a\nb\t c ", 99) == "a b c"
    assert one_line("x" * 30, 30) == "x" * 30
    assert one_line("a" * 50 + "b" * 50, 25) == "a" * 10 + " ... " + "b" * 10


def test_in_markdown():
    assert in_markdown("[cat](javascript:alert(1)) <b>|\n`x`") == r"\[cat\](javascript:alert(1)) \<b\>\| \`x\`"
    assert in_markdown("\x1b[2J") == r"\\x1b\[2J"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        *((one, one) for one in ("cat", "-3.5", "+1e-3", "", "a=b", -3.5, None)),
    ],
)
def test_a_spreadsheet_computes_nothing(cell, expected):
    assert in_csv(cell) == expected
