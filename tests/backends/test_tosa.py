"""The file of a part for an NPU: what is packed comes back, and what is not whole is refused before a tool sees it."""

from __future__ import annotations

import pytest

from edge_moe import BackendError
from edge_moe.backends.tosa import unpack
from tests.ethos_u_tools import artifact


def test_what_is_packed_comes_back():
    part = unpack(artifact("a graph"))
    assert part.graph == b"\x08\0\0\0TOSAa graph"
    assert part.made_from == "a test"
    (image,), (logits, features) = part.tensors
    assert (image.tensor, image.shape, image.dtype, image.scale, image.zero_point) == (
        *("the image", (1, 2, 1, 3), "int8"),
        *(0.5, 3),
    )
    assert [one.name for one in (logits, features)] == ["logits", "features"]


def test_tools_that_know_nothing_of_the_footer_find_the_graph_first():
    data = artifact("a graph")
    assert data.startswith(unpack(data).graph)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: b"", "is no TOSA graph; make it with 'edge-moe convert --for ethos-u'"),
        (lambda data: b"\x08\0\0\0TFL3" + data[8:], "is no TOSA graph"),
        (lambda data: data[:-1], "footer is not there, or was cut off"),
        (lambda data: unpack(data).graph, "footer is not there"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7fEMOE", "footer is not there"),
        (lambda data: data[:10] + b"!" + data[11:], "graph of the .tosa artifact was altered; convert it again"),
        (lambda data: data.replace(b'"scale"', b'"stale"'), "footer of the .tosa artifact is damaged"),
        (lambda data: data.replace(b'"int8"', b'"\xff\xff\xff\xff"'), "footer of the .tosa artifact is damaged"),
    ],
)
def test_what_is_refused(spoil, words):
    with pytest.raises(BackendError, match=words):
        unpack(spoil(artifact("a graph")))
