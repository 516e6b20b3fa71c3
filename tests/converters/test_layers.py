"""Which layer broke: numbers worked by hand, and a layer that is bad on purpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_moe.converters import recipes, toolchain
from edge_moe.converters.layers import LayerNoise, rank
from edge_moe.converters.toolchain import LayerTensors
from edge_moe.verify import relative_error
from tests import fixed, own
from tests.converters.conftest import BACKENDS, allowed, run, run_torch
from tests.rounding import ALLOWED


def tensors(*values):
    return np.array(values, np.float32)


def test_by_hand():
    """A layer adds its output's noise-to-signal ratio less its input's."""
    samples = [
        # Input exact; output off by 1/2 of 3-4: 25 / 0.25 of power, 20 dB.
        LayerTensors("first", (tensors(1, 2), tensors(1, 2)), (tensors(3, 4), tensors(3, 4.5))),
        # Input 1/25, output 2/25: it adds 1/25.
        LayerTensors("second", (tensors(3, 4), tensors(3, 5)), (tensors(3, 4), tensors(4, 5))),
        # It makes less noise than it gets: it adds none.
        LayerTensors("third", (tensors(3, 4), tensors(4, 5)), (tensors(6, 8), tensors(6, 9))),
        # Adds 1/4 - 1/100 = 0.24: 6.2 dB.
        LayerTensors("fourth", (tensors(6, 8), tensors(6, 9)), (tensors(0, 2), tensors(1, 2))),
    ]
    found = {one.layer: one for one in rank(samples)}
    assert list(found) == ["fourth", "second", "first", "third"]
    assert [found[name].position for name in ("first", "second", "third", "fourth")] == [0, 1, 2, 3]

    def check(name, given, result, own_noise):
        one = found[name]
        decibels = [-10 * np.log10(ratio) if ratio else 200 for ratio in (given, result, own_noise)]
        assert [one.input_sqnr_db, one.sqnr_db, one.own_sqnr_db] == pytest.approx(decibels)

    check("first", 0, 1 / 100, 1 / 100)
    check("second", 1 / 25, 2 / 25, 1 / 25)
    check("third", 2 / 25, 1 / 100, 0)
    check("fourth", 1 / 100, 1 / 4, 0.24)


def test_powers_add_up_over_samples():
    """Not ratios: a sample without signal does not count more than others."""
    exact = (tensors(1), tensors(1))
    samples = [
        LayerTensors("one", exact, (tensors(3, 4), tensors(3, 5))),
        LayerTensors("one", exact, (tensors(0, 0), tensors(0, 1))),
    ]
    (one,) = rank(samples)
    assert one.sqnr_db == pytest.approx(10 * np.log10(25 / 2))


@pytest.mark.parametrize(
    ("exact", "found", "expected"),
    [
        (tensors(1, 2), tensors(1, 2), 200),
        (tensors(0, 0), tensors(0, 0), 200),
        (tensors(0, 0), tensors(0, 1), -200),
        (tensors(1, 2), tensors(0, 0), 0),
        (np.full((1, 4), 1e20, np.float32), np.full(4, 2e20, np.float32), 0),  # squares beyond float32; another shape
    ],
)
def test_the_ends(exact, found, expected):
    (one,) = rank([LayerTensors("one", (tensors(1), tensors(1)), (exact, found))])
    assert one.sqnr_db == one.own_sqnr_db == pytest.approx(expected)


def test_nothing_to_rank():
    assert rank([]) == []


@pytest.fixture(scope="module")
def ruined():
    """The tail of `tests.own` with a bad layer; features [N, 1, 8, 8, 80]; what torch makes of them."""
    expert = fixed.fill(own.network(own.Architecture(base=own.NAME, classes=3, image_size=32)).new_expert())
    x = (1 + fixed.uniform(0, 24, 1, 8, 8, 80)) / 2
    with torch.no_grad():  # statistics, and then a large channel
        expert(torch.from_numpy(x[:, 0]).permute(0, 3, 1, 2))
    before = run_torch(expert.eval(), "expert", x)["logits"]
    bound = allowed(expert, "expert", x)["logits"]
    own.ruin(expert)
    after = run_torch(expert, "expert", x)["logits"]
    assert relative_error(after, before) < 1e-4  # in float nothing has changed
    return expert, x, before, bound


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_layer_is_named_and_mended(ruined, backend):
    """Named is the layer that reads the ruined map, see `own.ruin`; kept in float, with what writes the map."""
    part, x, expected, bound = ruined
    tools, int8 = toolchain.get(backend), recipes.get(backend, "int8-all")
    traced = tools.trace(part, "expert", x[0])
    ranked = rank(tools.compare(traced, part, "expert", x, int8))
    assert {one.layer for one in ranked} == {"even.0", "last.0", "classifier"}
    assert ranked[0].layer == own.RUINED
    first, second = ranked[:2]
    assert first.own_sqnr_db < 10 < 20 < second.own_sqnr_db
    assert first.input_sqnr_db > 20  # the map itself looks fine
    by_name = {one.layer: one for one in ranked}
    assert isinstance(by_name["classifier"], LayerNoise)
    assert by_name["classifier"].input_sqnr_db < 20  # it gets the noise, and is not blamed

    mended = type(int8)(**{f: getattr(int8, f) for f in int8.__struct_fields__} | {"keep_float": (own.RUINED,)})
    broken, restored = (run(backend, m, "expert", x) for m in tools.build(traced, part, "expert", x, [int8, mended]))
    # As good as one that was never ruined; and a ruined one is as bad as a second implementation has it.
    assert relative_error(restored["logits"], expected) < bound < 0.1
    assert relative_error(broken["logits"], expected) > allowed(part, "expert", x)["logits"] / ALLOWED**2 > bound
