"""What can go wrong with bytes, and with JSON that is still JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def bytes_of(rng: np.random.Generator, data: bytes) -> bytes:
    """Return `data` with some bytes changed, cut out, put in, or all that follows left away."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, len(found))) if found else 0
        # Headers decide most: every second change is among the first bytes.
        place = min(place, int(rng.integers(0, 128))) if rng.random() < 0.5 else place
        match rng.integers(0, 6):
            case 0:
                found[place : place + 1] = rng.bytes(1)
            case 1:
                found[place : place + 4] = rng.bytes(4)
            case 2:
                number = int(rng.choice(_NUMBERS))
                found[place : place + 4] = number.to_bytes(4, "little" if rng.random() < 0.5 else "big")
            case 3:
                del found[place : place + int(rng.integers(1, 64))]
            case 4:
                found[place:place] = rng.bytes(int(rng.integers(1, 64)))
            case _:
                del found[place + 1 :]
    return bytes(found)


_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 10**6, 10**12, 2**63, -(2**63), 2**64, 10**30, 0.5, -0.5, 1e308, 5e-324),
    *("", "x", "x" * 5000, "\0", "\x1b[31m", "\u202e", "\ud7ff", "../x", "/etc/passwd", "a\\b", "C:x", "0" * 64),
    *([], {}, [[]], {"x": {}}, [0] * 1000, "@20", "@500", "@100000"),
)


def json_of(rng: np.random.Generator, raw: Any) -> bytes:
    """Return JSON in which values are others, gone, twice there, or exchanged; or of which bytes are."""
    found = copy.deepcopy(raw)
    for _ in range(int(rng.integers(1, 4))):
        _change(rng, found)
    text = json.dumps(found).encode("utf-8", "surrogatepass")
    for levels in (20, 500, 100_000):  # the last is deeper than any parser goes
        text = text.replace(b'"@%d"' % levels, b"[" * levels + b"]" * levels)
    match rng.integers(0, 12):
        case 0:
            return bytes_of(rng, text)
        case 1:
            return text.replace(b"1", rng.choice([b"NaN", b"Infinity", b"1e999", b"1" * 400]), 1)
    return text


def _change(rng: np.random.Generator, raw: Any) -> None:
    place = raw
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = keys[int(rng.integers(0, len(keys)))]
        if isinstance(place[key], dict | list) and len(place[key]) and rng.random() < 0.85:
            place = place[key]
            continue
        match rng.integers(0, 6):
            case 0:
                del place[key]
            case 1 if isinstance(place, list):
                place.append(copy.deepcopy(place[key]))
            case 1:
                place[f"{key}x"] = copy.deepcopy(place[key])
            case 2:
                other = keys[int(rng.integers(0, len(keys)))]
                place[key], place[other] = place[other], place[key]
            case _:
                place[key] = copy.deepcopy(_VALUES[int(rng.integers(0, len(_VALUES)))])
        return
