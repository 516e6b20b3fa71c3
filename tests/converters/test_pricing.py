"""`convert` with a ranker: what it is asked, and what follows from its answer. Costs are made up."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from edge_moe.bundle import Bundle
from edge_moe.converters import convert as module
from edge_moe.converters.options import ConversionOptions
from edge_moe.converters.pricing import shares
from edge_moe.converters.ranking import Cost, Costs
from edge_moe.evaluate import Outputs
from edge_moe.training.checkpoint import load_checkpoint
from tests.converters.quick import FAST, names

ROW = "arm:cortex-a76"


class Fixed:
    """A ranker that has the costs at hand, by recipe, in a unit of its own."""

    row, where, measures = ROW, "on a phone", True

    def __init__(self, **costs):
        self.known, self.asked = costs, []

    def costs(self, candidates, progress):
        self.asked.append(candidates)
        assert all(file.is_file() for parts in candidates.files.values() for file in parts.values())
        found = {key: self.known[key.recipe] for key in candidates.files if key.recipe in self.known}
        return Costs("beans", {key: Cost(value, value, value) for key, value in found.items()})


@pytest.fixture
def ranked(made_here, own_checkpoint, tiny_images, tmp_path):
    """ranked(ranker, **options) -> the report and the names of the sets in the bundle."""

    def call(ranker, checkpoint=own_checkpoint, data=tiny_images, **options):
        given = ConversionOptions(**(FAST | {"recipes": ()} | options))
        report = module.convert(checkpoint, str(data), tmp_path / "bundle", given, force=True, ranker=ranker)
        return report, names(Bundle(tmp_path / "bundle").manifest)

    return call


COSTS = {"int8_arm": 100, "int8_all": 100, "int8_stock": 100, "int8": 80, "int8_dynamic": 99}


def costs(**changed):
    return Fixed(**{name.replace("_", "-"): value for name, value in (COSTS | changed).items()})


def test_the_cheapest_of_those_that_meet_the_bars_is_the_default(ranked, made_here):
    ranker = costs()
    report, sets = ranked(ranker)
    assert sets == ["litert/int8", "litert/fp32"]
    one = report.ranked["litert"]
    assert (one.row, one.where, one.unit) == (ROW, "on a phone", "beans")
    assert one.why == "litert/int8 is 20% cheaper than litert/int8-arm on a phone"
    others = ("int8-arm", "int8-all", "int8-stock", "int8-dynamic")
    assert list(one.costs) == ["litert/int8", *(f"litert/{name}" for name in others)]
    assert one.costs["litert/int8"] == (80, 80, 80)
    assert len(made_here.calls) == 1  # all at once
    assert ranked(costs(int8=96))[1][0] == "litert/int8-arm"


def test_a_ranking_that_is_stopped_goes_on(ranked, made_here):
    class Stop(Fixed):
        def costs(self, candidates, progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ranked(Stop())
    assert ranked(costs())[1][0] == "litert/int8"
    assert [len(call) > 0 for call in made_here.calls] == [True, False]  # nothing is made twice


def test_what_misses_a_bar_is_not_measured_and_the_only_one_is_not_either(ranked, made_here, ruined_checkpoint):
    ranker = costs()
    made_here.unmade = {"onnx/int8-weights": "it cannot be made here"}
    options = {"min_agreement": 0.985, "min_routing": 0.97, "validation_images": None, "backends": ("onnx",)}
    report, sets = ranked(ranker, checkpoint=ruined_checkpoint, **options)
    assert sets == ["onnx/int8-heavy", "onnx/fp32"]
    assert ranker.asked == []
    assert report.ranked["onnx"].why == "onnx/int8-heavy is the only one of them that meets the bars"
    assert all(report.missed_bars[f"onnx/{name}"] for name in ("int8", "int8-all", "int8-stock"))


def test_what_the_ranker_is_asked(ranked):
    ranker = costs()
    report, _ = ranked(ranker)
    (asked,) = ranker.asked
    used = list(asked.shares)
    assert used[:1] == ["base"]
    assert asked.shares == report.ranked["litert"].shares
    for parts in asked.files.values():
        assert list(parts) == used
    assert list(asked.specs) == used
    for part, given in asked.inputs.items():
        (spec,) = asked.specs[part].inputs
        assert (given.dtype, given.shape) == (np.float32, (12, *spec.shape[1:]))  # as many as there are images


def test_who_names_a_recipe_gets_it(ranked):
    ranker = costs()
    report, sets = ranked(ranker, recipes=("int8-dynamic",))
    assert (sets[0], report.ranked, ranker.asked) == ("litert/int8-dynamic", {}, [])


def test_without_a_ranker_nothing_is_measured(ranked, made_here):
    report, sets = ranked(None)
    one = report.ranked["litert"]
    assert one.costs == {}
    assert one.why == f"the committed order holds for {one.row}: nothing was measured"
    assert {name.split("/")[1] for name in made_here.calls[0]} == {"fp32", sets[0].split("/")[1]}


def test_a_set_that_could_not_be_measured_comes_last(ranked):
    ranker = Fixed(**{"int8": 100, "int8-dynamic": 101})
    report, sets = ranked(ranker)
    assert sets[0] == "litert/int8"
    assert report.ranked["litert"].why == (
        "litert/int8 is the first that could be measured on a phone; litert/int8-arm could not"
    )


def test_how_often_parts_run(own_checkpoint):
    """By hand: of four images the first exits before the gate, the second after it; two wake the second expert."""
    loaded = load_checkpoint(own_checkpoint)
    base = np.float32([[9, 0, 0], [3, 0, 0], [0, 0, 0], [0, 0, 0]])  # phi: 1.00, 0.91, 0.33, 0.33
    gate = np.float32([[0, 0], [0, 0], [0, 9], [0, 9]])
    verdict = SimpleNamespace(outputs=Outputs(base, gate, np.zeros((4, 2, 3), np.float32)), default_tau=0.08)
    assert shares(verdict, loaded, 1) == {"base": 1.0, "gate": 0.75, "expert_01": 0.5}
    assert shares(SimpleNamespace(outputs=verdict.outputs, default_tau=1.0), loaded, 1) == {"base": 1.0}
    untrained = replace(loaded, config=msgspec.structs.replace(loaded.config, origin="untrained"))
    assert shares(verdict, untrained, 1) == {"base": 1.0, "gate": 1.0, "expert_00": 1.0}
    plain = replace(loaded, config=msgspec.structs.replace(loaded.config, experts=0))
    assert shares(verdict, plain, 0) == {"base": 1.0}
