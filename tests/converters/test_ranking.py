"""The order of sets by what an image costs, with costs made by hand."""

from __future__ import annotations

import pytest

from edge_moe.converters.ranking import Cost, is_cheaper, ranked, row_of, why
from edge_moe.processor import Processor
from edge_moe.sets import SetKey

A, B, C = (SetKey("litert", name) for name in ("a", "b", "c"))


def exactly(value):
    """What a deterministic unit gives."""
    return Cost(value, value, value)


@pytest.mark.parametrize(
    ("one", "other", "cheaper"),
    [
        (exactly(95), exactly(100), True),  # 5% exactly
        (exactly(95.1), exactly(100), False),
        (exactly(100), exactly(100), False),
        (Cost(80, 90, 97), Cost(98, 100, 110), True),
        (Cost(80, 90, 98), Cost(98, 100, 110), False),  # they touch
        (Cost(80, 90, 99), Cost(98, 100, 110), False),
        (Cost(94, 96, 97), Cost(98, 100, 110), False),  # for sure, but hardly
    ],
)
def test_what_is_cheaper(one, other, cheaper):
    assert is_cheaper(one, other) is cheaper
    assert not is_cheaper(other, one)


@pytest.mark.parametrize(
    ("costs", "order"),
    [
        ({A: exactly(100), B: exactly(100), C: exactly(100)}, [A, B, C]),
        ({A: exactly(100), B: exactly(96), C: exactly(97)}, [A, B, C]),
        ({A: exactly(100), B: exactly(90), C: exactly(80)}, [C, B, A]),
        ({A: exactly(100), B: exactly(98), C: exactly(90)}, [C, A, B]),
        # B is not surely cheaper than A, and C is than A, though not than B: what counts is what it takes the place of.
        ({A: exactly(100), B: exactly(96), C: exactly(94)}, [C, A, B]),
        ({A: Cost(90, 100, 120), B: Cost(80, 90, 95), C: Cost(60, 70, 75)}, [C, A, B]),
        # Nobody saw B run.
        ({A: exactly(100), C: exactly(100)}, [A, C, B]),
        ({B: exactly(100), C: exactly(100)}, [B, C, A]),
        ({}, [A, B, C]),
    ],
)
def test_the_committed_order_holds_unless_one_is_surely_cheaper(costs, order):
    assert ranked([A, B, C], costs) == order


def test_it_is_said_why():
    costs = {A: exactly(100), B: exactly(88), C: exactly(99)}
    assert why([B, A, C], [A, B, C], costs, "on this host") == "litert/b is 12% cheaper than litert/a on this host"
    held = "the committed order holds: nothing is 5% cheaper than litert/a on this host"
    assert why([A, C], [A, C], costs, "on this host") == held
    assert why([A, B], [A, B], {}, "there") == "the committed order holds: nothing could be measured"
    first = "litert/b is the first that could be measured there; litert/a could not"
    assert why([B, A], [A, B], {B: exactly(1)}, "there") == first


@pytest.mark.parametrize(
    ("flags", "machine", "row"),
    [
        ({"avx2", "avx512f", "avx512_vnni"}, "x86_64", "x86 with AVX512-VNNI"),
        ({"avx2", "avx_vnni"}, "x86_64", "x86 with AVX512-VNNI"),
        ({"avx2"}, "AMD64", "x86 with AVX2"),
        (set(), "x86_64", "x86 with AVX2"),
        ({"asimd", "asimddp"}, "aarch64", "arm:cortex-a76"),
        ({"asimd"}, "aarch64", "arm:cortex-a53"),
        (set(), "arm64", "arm:cortex-a76"),
    ],
)
def test_the_row_of_a_host(flags, machine, row):
    assert row_of(Processor("a chip", frozenset(flags)), machine) == row


def test_this_host_has_one():
    assert row_of().startswith(("x86 with ", "arm:"))
