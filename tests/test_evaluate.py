"""What is computed for all samples at once is what Runtime answers one by one."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import DataError, Runtime, UsageError
from edge_moe.evaluate import Outputs, collect, route

X = np.random.default_rng(3).standard_normal((60, 1, 4, 4, 3)).astype(np.float32)


def gather(runtime, tensors, **options):
    return collect(runtime.part, runtime.manifest.experts, tensors, **options)


@pytest.mark.parametrize(("classes", "sharpness"), [(5, 1.0), (100, 1.0), (5, 10.0), (5, 1e4)])
@pytest.mark.parametrize(("kind", "space"), [("bagging", "logit"), ("bagging", "probability"), ("expert", "logit")])
def test_route_agrees_with_runtime_exactly(make_bundle, fake_backend, classes, sharpness, kind, space):
    path = make_bundle(experts=4, classes=classes, sharpness=sharpness, kind=kind, space=space)
    with Runtime(path, backend=fake_backend) as runtime:
        outputs = gather(runtime, X)
        for tau in (0.0, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0):
            for most in (1, 2, 4):
                runtime.tau, runtime.max_experts = tau, most
                routed = route(outputs, tau, most, kind, space)
                for n, x in enumerate(X):
                    found = runtime.predict_tensor(x)
                    assert found.index == routed.predictions[n]
                    assert found.exited == routed.exited[n]
                    assert found.gate_ran == routed.gate_ran[n]
                    assert found.experts == tuple(np.flatnonzero(routed.active[n]))
                    np.testing.assert_array_equal(found.scores, routed.scores[n])


def test_decisions_at_the_very_threshold_agree(make_bundle, fake_backend):
    # tau set to a sample's own 1 - max phi or largest alpha, and to the doubles next to it.
    with Runtime(make_bundle(), backend=fake_backend, max_experts=3) as runtime:
        outputs = gather(runtime, X[:20])
        for n, x in enumerate(X[:20]):
            runtime.tau = 0.0
            phi = np.exp(outputs.base_logits[n] - outputs.base_logits[n].max())
            rest = float(1 - (phi / phi.sum()).max())
            for tau in (rest, np.nextafter(rest, 0), np.nextafter(rest, 1)):
                runtime.tau = float(tau)
                routed = route(outputs, float(tau), 3, "bagging", "logit")
                found = runtime.predict_tensor(x)
                assert (found.exited, found.gate_ran) == (routed.exited[n], routed.gate_ran[n])


@pytest.mark.parametrize("chunk", [1, 7, 60, 256])
def test_collect(make_bundle, fake_backend, chunk):
    path = make_bundle()
    size = round(2.25 * max((path / f"fake/int8/expert_{k:02d}.npz").stat().st_size for k in range(3)))
    with Runtime(path, backend=fake_backend, expert_budget_bytes=size) as runtime:
        found = gather(runtime, iter(X), chunk=chunk)
        assert len(runtime.loaded_experts) == 1
    # One load an expert and chunk; only the first chunk may find nothing loaded, later ones never a match.
    assert len(fake_backend.opened) == 2 + 3 * -(-60 // chunk)
    assert found.base_logits.shape == (60, 5)
    assert found.gate_logits.shape == (60, 3)
    assert found.expert_logits.shape == (60, 3, 5)
    with Runtime(path, backend=fake_backend) as runtime:
        again = gather(runtime, X[:, 0])  # an array [N, H, W, 3]
    for name in ("base_logits", "gate_logits", "expert_logits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))


def test_collect_of_nothing(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend) as runtime, pytest.raises(DataError, match="no samples"):
        gather(runtime, [])


def test_route_does_not_touch_its_input_and_checks_arguments():
    rng = np.random.default_rng(0)
    outputs = Outputs(rng.normal(size=(9, 4)), rng.normal(size=(9, 2)), rng.normal(size=(9, 2, 4)))
    before = [a.copy() for a in (outputs.base_logits, outputs.gate_logits, outputs.expert_logits)]
    route(outputs, 0.0, 2, "bagging", "logit")
    for a, b in zip(before, (outputs.base_logits, outputs.gate_logits, outputs.expert_logits), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UsageError, match="tau is"):
        route(outputs, 1.5, 1, "bagging", "logit")
    with pytest.raises(UsageError, match="max_experts is"):
        route(outputs, 0.5, 3, "bagging", "logit")
