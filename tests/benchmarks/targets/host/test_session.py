"""The host as a target: every round measures everything once, in an order of its own, and nothing by halves."""

from __future__ import annotations

import os
from collections import Counter

import msgspec
import numpy as np
import pytest

from edge_moe import BackendError, MissingExtraError, backends
from edge_moe.backends import names
from edge_moe.benchmarks import machine, targets
from edge_moe.benchmarks.conditions import judge
from edge_moe.benchmarks.peers.ways import Way
from edge_moe.benchmarks.targets.host import cold, limits, timing
from edge_moe.benchmarks.targets.host import session as host
from edge_moe.benchmarks.wire import Peer, Seen
from edge_moe.bundle import Bundle
from edge_moe.errors import EdgeMoeError
from edge_moe.progress import Silent
from tests.benchmarks.jobs import make_job, setting
from tests.fakes import FakeBackend

pytestmark = pytest.mark.usefixtures("hurried")


SETTINGS = (setting(0.0, 1), setting(0.1, 1), setting(1.0, 1))


def test_which_backends_are_there(monkeypatch):
    class There(FakeBackend):
        def version(self):
            return "a library 1.2"

    class Missing(FakeBackend):
        def version(self):
            raise MissingExtraError("onnxruntime", "onnx", "running .onnx artifacts")

    class Broken(FakeBackend):
        def version(self):
            raise BackendError("it does not work with numpy 3")

    there = dict(zip(names(), (There, Missing, Broken, There), strict=True))
    monkeypatch.setattr(backends, "get", lambda name: there[name]())
    found = targets.get("host").available()
    assert [(one.what, one.usable) for one in found] == [
        ("host", True),
        ("host, litert", True),
        ("host, onnx", False),
        ("host, executorch", False),
        ("host, ethos-u", True),
    ]
    assert found[1].detail == "a library 1.2"
    assert "pip install 'edge-moe[onnx]'" in found[2].detail
    assert found[3].detail == "it does not work with numpy 3"


class Steps:
    """Counts progress."""

    def __init__(self):
        self.done = 0

    def start(self, name, total, done=0):
        pass

    def advance(self, name, note=""):
        self.done += 1


@pytest.fixture
def backend(monkeypatch):
    """What every artifact is opened with."""
    backend = FakeBackend()
    monkeypatch.setattr(backends, "get", lambda name: backend)
    monkeypatch.setattr(limits, "products", lambda threads, stack: [])
    return backend


@pytest.fixture
def job(backend, make_bundle, tmp_path):
    """job(T x K experts' order, **more of Plan)."""
    draw = np.random.default_rng(0)

    def make(order, *, experts=3, recipes=("int8",), settings=SETTINGS, **more):
        bundle = Bundle(make_bundle(experts=experts, recipes=recipes))
        inputs = [draw.standard_normal((1, 4, 4, 3)).astype(np.float32) for _ in order]
        return make_job(tmp_path / "files", bundle, settings, inputs, order=order, **{"rounds": 3} | more)

    return make


ORDER = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [0, 1, 2]]  # five images; none has expert 2 first


@pytest.fixture
def blocks(monkeypatch):
    """What ran, in order."""
    ran = []

    def note(name, what):
        real = getattr(host, name)

        def noted(first, second, *more):
            ran.append(what(first, second))
            return real(first, second, *more)

        monkeypatch.setattr(host, name, noted)

    note("time_parts", lambda runtime, one: ("parts", runtime.artifacts.recipe.name))
    note("time_point", lambda runtime, setting: ("point", runtime.artifacts.recipe.name, setting))
    note("time_waking", lambda wake, parts: ("waking", len(parts)))
    note("time_preprocessing", lambda job, into: ("preprocessing", len(job.images)))
    note("time_way", lambda call, images: ("peer", call(0)))

    def way(name, value):
        peer = Peer(name=name, backend="fake", recipe="int8", about="", tau=None, missing=None)
        return Way(peer, None if value is None else lambda index: value)

    monkeypatch.setattr(host, "ways", lambda *_: [way("a", 1), way("missing", None), way("b", 2)])
    monkeypatch.setattr(limits, "products", lambda *_: [limits.Product("fp32", name, lambda: None) for name in "xy"])
    monkeypatch.setattr(limits, "time_product", lambda product: ran.append(("limit", product.library)) or [1.0, 2.0])
    return ran


EVERYTHING = sorted(
    [
        *(("parts", recipe) for recipe in ("int8", "fp32")),
        *(("point", recipe, setting) for recipe in ("int8", "fp32") for setting in SETTINGS),
        *[("waking", 5)] * 2,
        ("preprocessing", 5),
        *(("peer", value) for value in (1, 2)),
        *(("limit", library) for library in "xy"),
    ],
    key=repr,
)


def test_a_round_is_everything_once_in_an_order_of_its_own(job, blocks):
    asked = job(ORDER, recipes=("int8", "fp32"), peers=True)
    orders = []
    for _ in range(2):
        with targets.get("host").open(asked, Silent()) as session:
            assert session.steps == len(EVERYTHING)
            assert [peer.name for peer in session.opening.peers] == ["a", "missing", "b"]
            assert [(one.library, one.shape) for one in session.opening.limits] == [
                ("x", (16, 16, 16)),
                ("y", (16, 16, 16)),
            ]
            for number in range(4):
                steps = Steps()
                blocks.clear()
                found = session.round(number, steps, "timing")
                assert sorted(blocks, key=repr) == EVERYTHING
                assert steps.done == session.steps
                orders.append([*blocks])
                assert len(found.sets) == 2
                assert [None if costs is None else len(costs["ms"]) for costs in found.peers] == [5, None, 5]
                assert found.limits_ms == ((1.0, 2.0), (1.0, 2.0))
                assert len(found.steps["preprocessing"]["ms"]) == 5
                assert isinstance(found.seen, Seen)
    assert orders[:4] == orders[4:]  # the same seed and number
    assert len({repr(order) for order in orders}) == 4


def test_another_seed_is_another_order(job, blocks):
    orders = []
    for seed in (0, 1):
        with targets.get("host").open(job(ORDER, seed=seed), Silent()) as session:
            blocks.clear()
            session.round(0, Silent(), "timing")
            orders.append([*blocks])
    assert sorted(orders[0], key=repr) == sorted(orders[1], key=repr)
    assert orders[0] != orders[1]


def test_how_often_the_parts_run(job, backend):
    """Five images, and three to warm up; expert 2, which is nobody's first, on all five more."""
    with targets.get("host").open(job(ORDER), Silent()) as session:
        base, gate, *experts = [*backend.parts]
        opened = len(backend.opened)
        assert opened == 2 + len(experts) == 5
        one = session.round(0, Silent(), "timing").sets[0]
        # Each part once, to see what waking it takes; no other clock runs while anything is loaded.
        assert len(backend.opened) == 2 * opened
        assert [part.calls for part in backend.parts[opened:]] == [0] * opened
        assert {name: len(costs["ms"]) for name, costs in one.waking.items()} == dict.fromkeys(one.parts, 1)
    by_themselves, predictions = (3 + 5) + 5, 3 * (3 + 5)
    assert base.calls == 2 * by_themselves + predictions
    assert {name: len(costs["ms"]) for name, costs in one.parts.items()} == {
        "base": 20,  # twice between two experts
        "gate": 10,
        "expert_00": 3,
        "expert_01": 2,
        "expert_02": 5,
    }
    assert [len(point.costs["ms"]) for point in one.points] == [5, 5, 5]
    assert gate.calls >= by_themselves + (3 + 5)  # and at tau = 0 for every image
    assert all(part.closed for part in backend.parts)
    assert sum(part.calls for part in experts) >= (3 + 5) + 5 + (3 + 5)


def test_every_expert_that_may_run_is_timed(job):
    settings = (setting(0.0, 2), setting(1.0, 1))
    with targets.get("host").open(job(ORDER, settings=settings), Silent()) as session:
        one = session.round(0, Silent(), "timing").sets[0]
    # The first two of each of five images: no expert is left over.
    assert {name: len(costs["ms"]) for name, costs in one.parts.items()} == {
        "base": 10,
        "gate": 5,
        "expert_00": 4,
        "expert_01": 4,
        "expert_02": 2,
    }


def test_experts_that_nobody_needs_are_timed_on_ten_images_at_most(job):
    with targets.get("host").open(job([[0, 1, 2]] * 14), Silent()) as session:
        one = session.round(0, Silent(), "timing").sets[0]
    assert [len(one.parts[f"expert_{k:02d}"]["ms"]) for k in range(3)] == [14, 10, 10]


@pytest.mark.parametrize("images", [1, 2, 4])
def test_few_images_and_one_expert(job, images):
    with targets.get("host").open(job([[0]] * images, experts=1), Silent()) as session:
        one = session.round(0, Silent(), "timing").sets[0]
    counts = {name: len(costs["ms"]) for name, costs in one.parts.items()}
    assert counts == {"base": 2 * images, "gate": images, "expert_00": images}
    assert [len(point.costs["ms"]) for point in one.points] == [images] * 3


def test_rows_are_of_the_same_images_in_every_round(job, backend, monkeypatch):
    """A part takes as long as what it was given says, so that a sample tells which image it is of."""
    now = [0.0]
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    with targets.get("host").open(job(ORDER), Silent()) as session:
        for part in backend.parts:
            real = part.invoke

            def invoke(x, real=real, part=part):
                now[0] += (float(np.abs(x).sum()) + len(part.weights)) / 1000
                real(x)

            part.invoke = invoke
        first, *others = (session.round(number, Silent(), "timing").sets[0] for number in range(4))
    parts = {name: costs["ms"] for name, costs in first.parts.items()}
    assert len(set(parts["base"])) == 5  # the images, told apart
    for other in others:
        assert other.parts.keys() == parts.keys()
        for name, costs in other.parts.items():
            assert costs["ms"] == pytest.approx(parts[name], abs=1e-3)
        for point, same in zip(other.points, first.points, strict=True):
            assert point.costs["ms"] == pytest.approx(same.costs["ms"], abs=1e-3)
            assert point.ran == same.ran
    # At tau = 1 the base alone runs, at tau = 0 more than that.
    always, never = first.points[0], first.points[-1]
    assert never.costs["ms"] == pytest.approx(parts["base"][:10:2], abs=1e-3)
    assert all(more > least for more, least in zip(always.costs["ms"], never.costs["ms"], strict=True))
    assert never.ran == (None,) * 5
    assert all(len(ran) == 1 for ran in always.ran)


def test_cold_starts_are_in_the_first_rounds_only(job, monkeypatch):
    asked = []

    def start(bundle, key, threads, images):
        asked.append((bundle, *key, threads))
        assert np.load(images).shape == (5, 4, 4, 3)
        return cold.Cold(100.06 + len(asked), 1000 + len(asked))

    monkeypatch.setattr(cold, "cold_start", start)
    given = job(ORDER, recipes=("int8", "fp32"), cold_starts=2, threads=1)
    with targets.get("host").open(given, Silent()) as session:
        steps = Steps()
        found = [session.round(number, steps, "timing") for number in range(3)]
    assert Counter(asked) == {(given.bundle.path, "fake", recipe, 1): 2 for recipe in ("int8", "fp32")}
    assert [[one.cold_start_ms is None for one in each.sets] for each in found] == [[False] * 2] * 2 + [[True] * 2]
    measured = {(one.cold_start_ms, one.peak_rss_bytes) for each in found[:2] for one in each.sets}
    assert measured == {(100.1 + i, 1000 + i) for i in (1, 2, 3, 4)}
    assert (found[2].sets[0].cold_start_ms, found[2].sets[0].peak_rss_bytes) == (None, None)
    assert steps.done == 3 * session.steps  # they are not counted


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no system call for it here")
def test_pinned_while_it_is_open(job):
    before = os.sched_getaffinity(0)
    with targets.get("host").open(job(ORDER), Silent()) as session:
        cpus = session.opening.cpus
        assert os.sched_getaffinity(0) == set(cpus)
        assert len(cpus) == 1
    assert os.sched_getaffinity(0) == before


def test_conditions_are_of_all_rounds(job, monkeypatch):
    loads = iter([0.5, 1.5])
    monkeypatch.setattr(machine, "load_average", lambda: next(loads))
    monkeypatch.setattr("edge_moe.benchmarks.watch.load_average", lambda: next(loads))
    with targets.get("host").open(job(ORDER), Silent()) as session:
        assert session.opening.machine == machine.this_machine()
        seen = session.round(0, Silent(), "timing").seen
    rounds = [msgspec.structs.replace(seen, elapsed_s=1.0, others_s=share, probe_ms=5.0) for share in (0.0, 0.5)]
    found = judge(rounds, load=session.opening.load)
    assert (found.load_before, found.load_after, found.others_share) == (0.5, 1.5, 0.25)


def fails(*_):
    raise BackendError("no more memory")


@pytest.mark.parametrize("where", ["the products", "an expert"])
def test_what_fails_while_it_is_opened_leaves_nothing_open(job, backend, monkeypatch, where):
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    given = job(ORDER, cold_starts=1)
    if where == "the products":
        monkeypatch.setattr(limits, "products", fails)
    elif where == "an expert":
        file = given.bundle.path / given.sets[0].parts["expert_01"].file
        file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(EdgeMoeError) as caught:
        targets.get("host").open(given, Silent())
    assert all(part.closed for part in backend.parts) and len(backend.parts) >= 3
    if before is not None:
        assert os.sched_getaffinity(0) == before
    words = {"the products": "no more memory", "an expert": "expert_01"}
    assert words[where] in str(caught.value)
