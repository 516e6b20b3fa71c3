from __future__ import annotations

import os
from pathlib import Path

from edge_moe.text import is_text, nfc, printable


def test_accents_are_composed():
    assert nfc("cafe\u0301") == nfc("caf\u00e9") == "caf\u00e9"


def test_bytes_that_are_no_text_are_seen_and_shown():
    name = os.fsdecode(b"caf\xe9.png")
    assert not is_text(name)
    assert is_text("caf\u00e9 \U0001f408")
    assert printable(name) == printable(Path(name)) == "caf\\xe9.png"
    assert printable("caf\u00e9.png") == "caf\u00e9.png"
