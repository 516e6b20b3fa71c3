"""Pieces of graphs: what is left out of one changes no answer."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.benchmarks.peers.piece import Piece


@pytest.mark.parametrize(("scale", "zero", "left"), [(0.1 * (1 + 1e-6), 7, 0), (0.1 * 1.01, 7, 2), (0.1, 8, 2)])
def test_integers_are_read_directly_where_they_come_back(scale, zero, left):
    piece = Piece()
    names = [
        piece.constant(name, value)
        for name, value in (
            ("s", np.float32(0.1)),
            ("z", np.uint8(7)),
            ("s2", np.float32(scale)),
            ("z2", np.uint8(zero)),
        )
    ]
    piece.add("DequantizeLinear", ["x", *names[:2]], "float")
    piece.add("Transpose", ["float"], "last", perm=[0, 2, 3, 1])
    piece.add("Transpose", ["last"], "first", perm=[0, 3, 1, 2])
    piece.add("QuantizeLinear", ["first", *names[2:]], "again")
    piece.add("Identity", ["again"], "y")
    found = piece.direct("y")
    assert [node.op_type for node in found.nodes[:-1]] == ["DequantizeLinear", "QuantizeLinear"][:left]
    assert found.nodes[0].input[0] == "x"
