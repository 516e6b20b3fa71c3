"""How many layers have to stay in float: the arithmetic by hand, and a network with layers that are bad on purpose."""

from __future__ import annotations

import copy

import pytest
import torch

from edge_moe.converters import recipes, toolchain
from edge_moe.converters.in_float import enough, tried_in_float, worth_trying
from edge_moe.converters.layers import InFloat, LayerNoise, rank
from edge_moe.converters.sharing import WHOLE_PART
from tests.converters.conftest import BACKENDS


def layer(name, own, given=200.0, position=0):
    return LayerNoise(layer=name, position=position, sqnr_db=min(own, given), input_sqnr_db=given, own_sqnr_db=own)


def test_which_layers_may_be_worth_it():
    layers = [
        layer("broken", 0.0, position=4),
        layer("behind", 11.0, given=0.0, position=5),  # it adds less than a tenth of what it gets: nobody can tell
        layer("another.conv", 9.0, given=0.0, position=9),
        *(layer(f"quiet{n}", 49.0, position=n) for n in (0, 1, 3, 6, 8)),  # 8 bits leave 48.2 dB
    ]
    # Half of them: the noisy ones, then who stands next to one, what comes before it first.
    assert worth_trying(layers, ()) == ["broken", "another.conv", "quiet3", "quiet8"]
    assert worth_trying(layers, ("another", "quiet3")) == ["broken", "behind", "quiet6", "quiet1"]
    assert worth_trying(layers[1:3], ()) == ["behind", "another.conv"]  # the worst is told in any case
    assert worth_trying(layers[3:], ()) == []
    assert worth_trying([layer(WHOLE_PART, 0.0), *layers], ())[0] == "broken"  # no module that could be named


IN_FLOAT = {
    count: InFloat(sqnr_db=db, changed=1) for count, db in ((0, 20.0), (1, 22.0), (2, 26.0), (4, 32.0), (5, 34.0))
}


@pytest.mark.parametrize(
    ("times", "count"),
    [
        (0.5, 1),  # at least one, or nothing would change
        (1.0, 1),
        (1.25, 1),  # 20 log10(1.25) = 1.9 dB
        (1.3, 2),  # 2.3 dB
        (2.0, 4),  # 6.02 dB: 26 are not enough
        (5.0, 5),  # 13.98 dB
        (5.1, None),
        (float("inf"), None),
    ],
)
def test_how_many_are_enough(times, count):
    assert enough(IN_FLOAT, times) == count


def test_no_answer_that_changes_is_enough():
    found = IN_FLOAT | {2: InFloat(sqnr_db=26.0, changed=0)}
    assert [enough(found, times) for times in (1.0, 1.3, 100.0)] == [1, 2, 2]
    assert enough({}, 1.0) is None
    # Where no answer changed to begin with, as where the routing is missed, that says nothing.
    same = {count: InFloat(sqnr_db=one.sqnr_db, changed=0) for count, one in IN_FLOAT.items()}
    assert [enough(same, times) for times in (1.0, 2.0, 100.0)] == [1, 4, None]
    # Of logits that are no numbers nothing is known but that none changes any more.
    broken = InFloat(sqnr_db=-200.0, changed=9)
    assert enough(IN_FLOAT | {0: broken}, 1.0) is None
    assert enough(found | {0: broken}, 1.0) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_falls_as_bad_layers_are_kept_in_float(parts, samples, backend):
    """One channel that nobody reads takes all the levels of what two layers give."""
    part, tools = copy.deepcopy(parts["base"]), toolchain.get(backend)
    with torch.no_grad():
        for name, reader in (("wide.0", "even.0"), ("even.0", "narrow.0")):
            part.get_submodule(name).bias[0] = 500
            part.get_submodule(reader).weight[:, 0] = 0
    recipe = recipes.get(backend, "int8-all")
    given = samples["base"]
    traced = tools.trace(part, "base", given[0])
    names = worth_trying(rank(tools.compare(traced, part, "base", given, recipe)), ())
    assert len(names) == 3
    found = tried_in_float(tools, traced, part, "base", given, recipe, names)
    assert list(found) == [0, 1, 2, 3]
    assert found[0].sqnr_db < 10
    assert found[3].sqnr_db > found[0].sqnr_db + 20
    assert found[0].changed > found[3].changed == 0
