"""What `convert` ranks recipes by: prices of parts, asked of a target, and what an image costs."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.backends import get
from edge_moe.benchmarks import ranking, targets
from edge_moe.benchmarks.target import Availability, Prices, Target
from edge_moe.benchmarks.targets.host.price import price
from edge_moe.benchmarks.units import MS, UNITS
from edge_moe.bundle import Bundle
from edge_moe.converters.ranking import Candidates, Cost, row_of
from edge_moe.errors import UsageError
from edge_moe.progress import Silent
from edge_moe.sets import SetKey

INT8 = SetKey("litert", "int8")


class Counter(Target):
    """Counts instructions, the same every time."""

    kind = "counter"
    usable = True

    def available(self):
        return [Availability("counter", self.usable, "install it")]

    def open(self, job, progress):
        raise NotImplementedError

    def price(self, files, specs, inputs, rounds, progress):
        assert (rounds, specs, list(inputs)) == (ranking.ROUNDS, {}, ["base"])
        return Prices(UNITS["instructions"], {key: {"base": [[2e6, 2e6]]} for key in files})


class Mute(Counter):
    price = Target.price


def test_an_image_costs_what_its_parts_cost_as_often_as_they_run():
    """By hand: rounds of 1 + 0.5 * 2, 3 + 0.5 * 2 and 2 + 0.5 * 4; a part that did not run costs nothing."""
    parts = {"base": [[1, 1, 9], [3, 3, 3], [2, 2, 0]], "gate": [[2], [2], [4]], "expert_00": [[7], [7], [7]]}
    found = ranking.of_an_image(parts, {"base": 1.0, "gate": 0.5}, MS)
    assert found == pytest.approx(Cost(2.4, 4.0, 4.0))


def test_a_target_is_asked_in_its_own_unit():
    ranker = ranking.TargetRanker(Counter("a76"))
    assert (ranker.row, ranker.where, ranker.measures) == ("counter:a76", "on counter:a76", True)
    asked = Candidates(files={INT8: {}}, specs={}, inputs={"base": np.zeros((2, 4), np.float32)}, shares={"base": 1.0})
    assert ranker.costs(asked, Silent()) == ("M instructions", {INT8: Cost(2.0, 2.0, 2.0)})


def test_one_that_cannot_is_refused_before_any_work(monkeypatch):
    words = "counter cannot rank recipes: it does not measure single parts; choose another device with --for, .*--no-me"
    with pytest.raises(UsageError, match=words):
        ranking.TargetRanker(Mute())
    with pytest.raises(UsageError, match="counter cannot rank recipes; expected --for a device that can"):
        Mute().price({}, {}, {}, 1, Silent())
    monkeypatch.setattr(Counter, "usable", False)
    with pytest.raises(UsageError, match="counter cannot rank recipes: install it; choose"):
        ranking.TargetRanker(Counter())


def test_this_host_has_the_row_of_its_processor():
    ranker = ranking.TargetRanker(targets.get("host"))
    assert (ranker.row, ranker.where) == (row_of(), "on this host")


def test_the_host_times_parts_in_turns(own_bundle):
    bundle = Bundle(own_bundle)
    sets = [one for one in bundle.manifest.sets if one.backend == "litert"]
    used = ("base", "gate", "expert_01")
    files = {one.key: {part: own_bundle / one.parts[part].file for part in used} for one in sets}
    inputs = {part: np.zeros((4, *bundle.manifest.parts[part].inputs[0].shape[1:]), np.float32) for part in used}
    unit, samples = price(files, inputs, 3, Silent())
    assert unit == MS
    assert list(samples) == [one.key for one in sets]
    for parts in samples.values():
        assert list(parts) == list(used)
        for rounds in parts.values():
            assert [len(one) for one in rounds] == [4, 4, 4]
            assert min(map(min, rounds)) > 0


def test_large_networks_get_fewer_rounds(own_bundle, monkeypatch):
    monkeypatch.setattr("edge_moe.benchmarks.targets.host.price._ENOUGH_S", 0.0)
    one = Bundle(own_bundle).manifest.sets[0]
    shape = Bundle(own_bundle).manifest.parts["base"].inputs[0].shape[1:]
    opened = []
    kind = type(get(one.backend))
    real = kind.open
    monkeypatch.setattr(
        kind, "open", lambda self, data, **given: opened.append(real(self, data, **given)) or opened[-1]
    )
    files = {one.key: {"base": own_bundle / one.parts["base"].file}}
    _, samples = price(files, {"base": np.zeros((2, *shape), np.float32)}, 9, Silent())
    assert len(samples[one.key]["base"]) == 5
    assert len(opened) == 1


class Several(Counter):
    """Stands for several; one of them ranks for all."""

    kind = "several"

    def ranked_by(self):
        return self if self.parameter else Several("first")


def test_one_ranks_for_those_that_it_stands_for():
    ranker = ranking.TargetRanker(Several())
    assert (ranker.row, ranker.where) == ("several:first", "on several:first")


def test_an_npu_takes_the_sets_of_its_kind():
    assert {ranking.target_row(targets.get(name)) for name in ("qnn", "qnn:QCS9100", "qnn:SM8650")} == {"qnn"}
