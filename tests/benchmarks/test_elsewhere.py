"""Parts that run elsewhere: they answer as here, one by one and all at once, and a target that keeps them says so."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import BackendError, Bundle, Runtime, UsageError, backends
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.elsewhere import Elsewhere, golden_problem, trace_there
from edge_moe.benchmarks.target import Target
from edge_moe.benchmarks.targets.host import Host
from edge_moe.trace import record
from edge_moe.verify import verify
from tests.fakes import FakeBackend

X = np.random.default_rng(5).standard_normal((9, 1, 4, 4, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    monkeypatch.setattr(backends, "get", lambda name: FakeBackend())


@pytest.fixture
def bundle(make_bundle):
    return Bundle(make_bundle(recipes=("int8", "fp32")))


@pytest.fixture
def asked():
    return []


@pytest.fixture
def run(asked):
    """Another machine, which works as this one does."""

    def outputs(bundle, artifacts, part, inputs):
        asked.append((str(artifacts.key), part, len(inputs)))
        return Host().outputs(bundle, artifacts, part, inputs)

    return outputs


@pytest.mark.parametrize("experts", [0, 1, 3])
def test_a_trace_made_elsewhere_is_the_one_made_here(make_bundle, run, asked, experts):
    bundle = Bundle(make_bundle(experts=experts))
    found = trace_there(run, bundle, bundle.manifest.sets[0], list(X))
    with Runtime(bundle) as runtime:
        here = record(runtime.part, experts, "bagging", "logit", X)
    for name, values in vars(here).items():
        np.testing.assert_array_equal(getattr(found, name), values)
    # Every part is asked once, for all images: each call may start a process, or cross a cable.
    assert [(part, count) for _, part, count in asked] == [(part, 9) for part in bundle.manifest.parts]


def test_golden_samples_that_are_computed_there(bundle, run, asked):
    (artifacts, _) = bundle.manifest.sets
    assert golden_problem(run, bundle, artifacts) == ""
    assert [part for _, part, _ in asked] == list(bundle.manifest.parts)  # each once


@pytest.mark.parametrize(("part", "value"), [("base", 1.0), ("expert_00", 1.0), ("gate", np.nan)])
def test_golden_samples_that_are_not(bundle, run, part, value):
    """In the last sample alone, in one output alone."""
    (artifacts, _) = bundle.manifest.sets

    def wrong(bundle, artifacts, what, inputs):
        found = run(bundle, artifacts, what, inputs)
        if what == part:
            found["logits"] = found["logits"].copy()
            found["logits"][-1, 0] += value
        return found

    problem = golden_problem(wrong, bundle, artifacts)
    assert problem.startswith(f"{artifacts.key}, {part}.logits of sample ") and "tolerance" in problem


def test_a_runtime_on_parts_elsewhere_answers_alike(bundle, run, asked):
    elsewhere = Elsewhere("fake", "a core", bundle, run)
    assert elsewhere.version() == "fake on a core"
    with Runtime(bundle, tau=0.1) as here, Runtime(bundle, tau=0.1, backend=elsewhere) as there:
        for x in X:
            one, other = here.predict_tensor(x), there.predict_tensor(x)
            assert (one.index, one.experts, one.macs) == (other.index, other.experts, other.macs)
            np.testing.assert_array_equal(one.scores, other.scores)
    assert {name for name, _, _ in asked} == {"fake/int8"}


def test_bytes_that_are_no_artifact_are_not_sent(bundle, run, asked):
    with pytest.raises(BackendError, match="a core was given an artifact that is not of"):
        Elsewhere("fake", "a core", bundle, run).open(b"something")
    assert asked == []


def test_verify_on_another_device(make_bundle, asked, run):
    bundle = Bundle(make_bundle(edit=lambda raw: raw["sets"][0]["runs_on"].update(npu="hexagon")))
    checks = verify(bundle, engines=lambda name: Elsewhere(name, "an NPU", bundle, run))
    assert asked
    assert not any(one.skipped and "cannot run here" in one.detail for one in checks)


class Mute(Target):
    kind = "mute"

    def available(self):
        return []

    def open(self, job, progress):
        raise AssertionError


def test_a_target_that_keeps_what_parts_compute(bundle, monkeypatch):
    monkeypatch.setattr(targets, "_registered", {"mute": Mute})
    target = targets.get("mute:7")
    assert (target.name, target.hands_out, target.fingerprint(), target.set_up()) == ("mute:7", False, "mute:7", None)
    words = "mute:7 does not hand out what parts compute, .* such as host"
    with pytest.raises(UsageError, match=words):
        target.backend(bundle, "fake")
    with pytest.raises(UsageError, match=words):
        target.outputs(bundle, bundle.manifest.sets[0], "base", X[0])


def test_the_host_hands_out_its_own_backend(bundle):
    target = targets.get("host")
    assert target.hands_out
    assert isinstance(target.backend(bundle, "fake"), FakeBackend)
    artifacts = bundle.manifest.sets[0]
    found = target.outputs(bundle, artifacts, "base", X[:, 0])
    with Runtime(bundle) as runtime:
        base = runtime.part("base")
        for n, x in enumerate(X):
            base.invoke(x)
            for name, values in found.items():
                np.testing.assert_array_equal(values[n], base.output(name)[0])
    assert set(found) == {one.name for one in bundle.manifest.parts["base"].outputs}
