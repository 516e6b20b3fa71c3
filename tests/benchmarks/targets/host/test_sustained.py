"""The host without a pause: every set that is to, at its own setting, on the timed images and no others."""

from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest

from edge_moe import Runtime, backends
from edge_moe.benchmarks import clocks, sustained, targets
from edge_moe.benchmarks.sound import sustained_problem
from edge_moe.benchmarks.targets.host import limits
from edge_moe.bundle import Bundle
from edge_moe.progress import Silent
from tests.benchmarks.jobs import make_job, setting
from tests.fakes import FakeBackend

pytestmark = pytest.mark.usefixtures("hurried")


class Steps(Silent):
    """Counts progress."""

    def __init__(self):
        self.done = 0

    def advance(self, name, note=""):
        assert name == "sustained"
        self.done += 1


@pytest.fixture
def job(monkeypatch, make_bundle, tmp_path):
    """job(a setting or None for each recipe, **more) -> a job of a second."""
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())
    monkeypatch.setattr(limits, "products", lambda threads, stack: [])
    monkeypatch.setattr(sustained, "WINDOW_S", 0.25)
    monkeypatch.setattr(clocks, "now", lambda cpus: {"CPUs": len(list(cpus))})
    draw = np.random.default_rng(0)

    def make(at, **more):
        recipes = ("int8", "fp32", "int8-all")[: len(at)]
        bundle = Bundle(make_bundle(recipes=recipes, **more))
        inputs = [draw.standard_normal((1, 4, 4, 3)).astype(np.float32) for _ in range(5)]
        most = min(1, bundle.manifest.experts)
        made = make_job(tmp_path / "files", bundle, [setting(1.0, most)], inputs, sustained_s=1)
        sets = [msgspec.structs.replace(one, sustained=s) for one, s in zip(made.plan.sets, at, strict=True)]
        object.__setattr__(made, "plan", msgspec.structs.replace(made.plan, sets=tuple(sets)))
        return made

    return make


def test_each_set_that_is_to(job, monkeypatch):
    asked, seen, real = job([setting(0.0, 2), None, setting(0.5, 1)]), [], Runtime.predict_tensor

    def noted(self, x):
        seen.append((self.artifacts.recipe.name, self.tau, self.max_experts, x.tobytes()))
        return real(self, x)

    monkeypatch.setattr(Runtime, "predict_tensor", noted)
    steps = Steps()
    with targets.get("host").open(asked, Silent()) as session:
        started = time.perf_counter()
        found = session.sustained(steps, "sustained")
        elapsed = time.perf_counter() - started
    assert [(one.set, one.setting) for one in found] == [
        ("fake/int8", setting(0.0, 2)),
        ("fake/int8-all", setting(0.5, 1)),
    ]
    assert 2 <= elapsed < 10  # a second each
    assert steps.done == 8  # windows
    assert [
        {(tau, most) for name, tau, most, _ in seen if name == recipe} for recipe in ("int8", "fp32", "int8-all")
    ] == [
        {(0.0, 2)},
        set(),
        {(0.5, 1)},
    ]
    for one in found:
        turns = [x for name, *_, x in seen if f"fake/{name}" == one.set]
        assert sum(window.count for window in one.windows) == len(turns) > 5
        assert turns[:12] == [x.tobytes() for x in asked.inputs * 3][:12]
        assert [window.start_s for window in one.windows] == [0.0, 0.25, 0.5, 0.75]
        assert all(0 < window.median < 250 and window.facts["CPUs"] >= 1 for window in one.windows)
    assert sustained_problem(found, {one.set: one.setting for one in found}, 1) is None


def test_a_plain_network(job):
    with targets.get("host").open(job([setting(1.0, 0)], experts=0), Silent()) as session:
        (found,) = session.sustained(Silent(), "sustained")
    assert len(found.windows) == 4


def test_nothing_is_asked_for(job):
    with targets.get("host").open(job([None]), Silent()) as session:
        assert session.sustained(Silent(), "sustained") == ()
