"""The exit path, the experts, what is counted, what is kept in memory, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_moe import Bundle, DataError, Runtime, UsageError
from edge_moe.anytime import active_experts, alpha, combine, ensemble, softmax
from edge_moe.errors import BackendError
from tests.fakes import BASE_MACS, EXPERT_MACS, GATE_MACS, FakePart

X = np.random.default_rng(7).standard_normal((40, 1, 4, 4, 3)).astype(np.float32)


@pytest.fixture
def runtime(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend) as opened:
        yield opened


def test_exit_without_the_gate(runtime, fake_backend):
    runtime.tau = 1.0
    base, gate = fake_backend.parts
    found = runtime.predict_tensor(X[0])
    assert (found.exited, found.gate_ran, found.experts, found.macs) == (True, False, (), BASE_MACS)
    assert (base.calls, gate.calls, runtime.loaded_experts) == (1, 0, ())
    np.testing.assert_array_equal(found.scores, softmax(base.output("logits")[0]))
    np.testing.assert_allclose(found.probabilities, found.scores, rtol=1e-6)
    assert found.index == found.scores.argmax()
    assert found.label == f"class {found.index}"
    assert found.probability == pytest.approx(found.scores.max())
    assert found.milliseconds > 0


def test_exit_copies_only_the_logits(runtime, monkeypatch):
    copied = []
    monkeypatch.setattr(FakePart, "output", lambda self, n: (copied.append(n), self.results[n])[1])
    runtime.tau = 1.0
    runtime.predict_tensor(X[0])
    assert copied == ["logits"]


def test_exit_after_the_gate(runtime, fake_backend):
    # Between the largest alpha and 1 - max phi, the gate has to be asked.
    base, gate = fake_backend.parts
    runtime.tau = 0.0
    runtime.predict_tensor(X[0])
    phi, g = softmax(base.output("logits")[0]), softmax(gate.output("logits")[0])
    runtime.tau = float((alpha(phi, g).max() + 1 - phi.max()) / 2)
    found = runtime.predict_tensor(X[0])
    assert (found.exited, found.gate_ran, found.experts, found.macs) == (True, True, (), BASE_MACS + GATE_MACS)
    np.testing.assert_array_equal(found.scores, phi)


@pytest.mark.parametrize("kind", ["bagging", "expert"])
@pytest.mark.parametrize("space", ["logit", "probability"])
def test_top_two(make_bundle, fake_backend, kind, space):
    path = make_bundle(experts=4, kind=kind, space=space)
    with Runtime(path, backend=fake_backend, tau=0.0, max_experts=2) as runtime:
        found = runtime.predict_tensor(X[0])
        base, gate = fake_backend.parts[:2]
        logits, g = base.output("logits")[0], softmax(gate.output("logits")[0])
        first_two = np.sort(np.argsort(-g)[:2])
        assert found.experts == tuple(first_two.tolist())
        assert runtime.loaded_experts == found.experts
        assert found.macs == BASE_MACS + GATE_MACS + 2 * EXPERT_MACS + sum(found.experts)
        assert not found.exited
        assert found.gate_ran
        d = [ensemble(logits, p.output("logits")[0], kind, space) for p in fake_backend.parts[2:]]
        np.testing.assert_allclose(found.scores, g[first_two] @ np.array(d), rtol=1e-6)
        assert found.scores.sum() == pytest.approx(g[first_two].sum(), rel=1e-6)
        assert found.probabilities.sum() == pytest.approx(1, rel=1e-6)
        assert found.probability == pytest.approx(found.probabilities.max())


def test_all_experts_agree_with_the_formula(make_bundle, fake_backend):
    with Runtime(make_bundle(), backend=fake_backend, tau=0.15, max_experts=3) as runtime:
        for x in X:
            found = runtime.predict_tensor(x)
            outputs = {}
            for name in runtime.manifest.parts:
                part = runtime.part(name)
                fed = {"base": "x", "gate": "embedding"}.get(name, "features")
                part.invoke(x if fed == "x" else runtime.part("base").output(fed))
                outputs[name] = part.output("logits")[0]
            phi, g = softmax(outputs["base"]), softmax(outputs["gate"])
            active = active_experts(alpha(phi, g), 0.15, 3, g)
            assert found.experts == tuple(np.flatnonzero(active))
            if active.any():
                d = np.stack(
                    [ensemble(outputs["base"], outputs[f"expert_{k:02d}"], "bagging", "logit") for k in range(3)]
                )
                np.testing.assert_allclose(found.scores, combine(g, d, active), rtol=1e-6)


def test_defaults_are_the_set_s(make_bundle, fake_backend):
    with Runtime(Bundle(make_bundle(tau=0.3, max_experts=2)), backend=fake_backend) as runtime:
        assert (runtime.tau, runtime.max_experts) == (0.3, 2)
        runtime.tau, runtime.max_experts = 0, 3
        assert (runtime.tau, runtime.max_experts) == (0.0, 3)


def test_recipe(make_bundle, fake_backend):
    path = make_bundle(recipes=("int8", "fp32"))
    with Runtime(path, backend=fake_backend, recipe="fp32"):
        assert fake_backend.opened[0] == (path / "fake/fp32/base.npz").read_bytes()
    with pytest.raises(UsageError, match="backend is 5; expected its name, as in 'litert/int8', or None"):
        Runtime(path, backend=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no artifacts for fake/int4; it has fake/int8, fake/fp32"):
        Runtime(path, backend=fake_backend, recipe="int4")


def test_one_expert(make_bundle, fake_backend):
    with Runtime(make_bundle(experts=1), backend=fake_backend, tau=0.0) as runtime:
        found = runtime.predict_tensor(X[0])
    assert found.experts == (0,)
    np.testing.assert_allclose(found.scores, found.probabilities, rtol=1e-6)  # the gate's one probability is 1


def test_a_certain_base_still_asks_the_best_expert_at_tau_0(make_bundle, fake_backend):
    with Runtime(make_bundle(sharpness=1e4), backend=fake_backend, tau=0.0) as runtime:
        for x in X:
            found = runtime.predict_tensor(x)
            gate = softmax(runtime.part("gate").output("logits")[0])
            assert found.experts == (int(gate.argmax()),)
            assert found.probabilities.sum() == pytest.approx(1, rel=1e-5)


def test_predict(runtime, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    scores = [
        runtime.predict(source).scores
        for source in (tmp_path / "image.png", str(tmp_path / "image.png"), pixels, Image.fromarray(pixels))
    ]
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])
    with pytest.raises(DataError, match="does not exist"):
        runtime.predict(tmp_path / "nothing.png")


def test_batch_axis_is_optional(runtime):
    a, b = runtime.predict_tensor(X[0]), runtime.predict_tensor(X[0, 0])
    np.testing.assert_array_equal(a.scores, b.scores)


def test_answers_do_not_change_when_others_are_asked_for(runtime):
    # The scores are computed when they are asked for, the runtime writes over memory of its own.
    runtime.tau = 0.0
    at_once = [runtime.predict_tensor(x).scores for x in X[:6]]
    first = [runtime.predict_tensor(x) for x in X[:6]]
    for expected, one in zip(at_once, first, strict=True):
        np.testing.assert_array_equal(one.scores, expected)
        assert one.scores is one.scores
        assert one.probability == pytest.approx(float(one.probabilities.max()), rel=1e-6)


def test_an_only_expert_is_awake_where_alpha_is_tau(make_bundle, fake_backend):
    # g = 1, so that alpha = 1 - max phi exactly, also where max phi is under a half and the difference is rounded.
    with Runtime(make_bundle(experts=1), backend=fake_backend) as runtime:
        for x in X:
            runtime.tau = 1.0
            max_phi = runtime.predict_tensor(x).scores.max()
            runtime.tau = float(1 - max_phi)
            assert runtime.predict_tensor(x).experts == (0,)
            runtime.tau = float(np.nextafter(1 - max_phi, np.float32(1)))
            assert runtime.predict_tensor(x).exited


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0].astype(np.float64), "dtype float64; expected a float32 array"),
        ((X[0] * 50).astype(np.uint8), "dtype uint8; .*for an image use predict"),
        ([[1.0]], "has list; expected a float32 array"),
        (X[0][:, :3], r"shape \[1, 3, 4, 3\]; expected \[1, 4, 4, 3\]"),
        (X[:2, 0], r"shape \[2, 4, 4, 3\]"),
        (np.moveaxis(X[0], 3, 1), r"shape \[1, 3, 4, 4\]"),
        (np.where(np.arange(3) == 1, np.float32("nan"), X[0]), "not a number"),
    ],
)
def test_tensors_that_do_not_fit(runtime, x, message):
    with pytest.raises(DataError, match=message):
        runtime.predict_tensor(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"tau": t}, "tau is") for t in (float("nan"), -0.1, 1.1, "0.5", True)),
        *(({"max_experts": m}, "max_experts is") for m in (0, 4, True, 1.5)),
        *(({"threads": t}, "threads is") for t in (0, -1, True, 1.0, "2", 10**6, 2**31)),
        *(({"expert_budget_bytes": b}, "expected a number of bytes, or None") for b in ("x", -1, [1], float("nan"))),
        ({"expert_budget_bytes": 1}, r"expert_budget_bytes is 1, but the largest expert holds \d+ bytes of memory"),
    ],
)
def test_bad_arguments(make_bundle, fake_backend, options, message):
    with pytest.raises(UsageError, match=message):
        Runtime(make_bundle(), backend=fake_backend, **options)
    assert fake_backend.opened == []


def test_bad_settings_leave_the_old_ones(runtime):
    for tau in (float("nan"), -0.1, 1.1):
        with pytest.raises(UsageError):
            runtime.tau = tau
    for most in (0, 4, True):
        with pytest.raises(UsageError):
            runtime.max_experts = most
    assert (runtime.tau, runtime.max_experts) == (0.2, 1)


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("kind", ["bagging", "expert"])
def test_an_experts_answer_that_is_no_number(make_bundle, fake_backend, kind, most):
    with Runtime(make_bundle(kind=kind), backend=fake_backend, tau=0.0, max_experts=most) as runtime:
        k = runtime.predict_tensor(X[0]).experts[0]
        runtime.part(f"expert_{k:02d}").part.weights["logits"][:] = np.nan
        with pytest.raises(DataError, match=rf"the answer of expert .*{k}.* is not a number"):
            runtime.predict_tensor(X[0])


def test_a_files_bytes_are_answered(runtime, tmp_path):
    Image.effect_noise((20, 30), 50).save(tmp_path / "a.png")
    expected = runtime.predict(tmp_path / "a.png")
    found = runtime.predict((tmp_path / "a.png").read_bytes())
    assert (found.index, found.probability) == (expected.index, expected.probability)
    assert str(found).startswith(f"{found.label} {found.probability:.1%} (")


def test_unknown_backend(make_bundle):
    with pytest.raises(UsageError, match="no artifacts for tpu/any recipe"):
        Runtime(make_bundle(), backend="tpu")
    with pytest.raises(UsageError, match="unknown backend 'fake'"):
        Runtime(make_bundle())


def test_close(make_bundle, fake_backend):
    runtime = Runtime(make_bundle(), backend=fake_backend, tau=0.0, max_experts=3)
    runtime.predict_tensor(X[0])
    assert len(fake_backend.parts) == 5
    runtime.close()
    runtime.close()
    assert all(p.closed for p in fake_backend.parts)
    assert runtime.loaded_experts == ()
    for use in (lambda: runtime.predict_tensor(X[0]), lambda: runtime.part("base")):
        with pytest.raises(UsageError, match="the runtime is closed"):
            use()


def test_a_gate_that_does_not_open_closes_the_base(make_bundle, fake_backend, monkeypatch):
    first = fake_backend.open

    def fail_on_second(data, *, threads=1):
        if fake_backend.opened:
            raise BackendError("refused")
        return first(data, threads=threads)

    monkeypatch.setattr(fake_backend, "open", fail_on_second)
    with pytest.raises(BackendError, match="refused"):
        Runtime(make_bundle(), backend=fake_backend)
    assert fake_backend.parts[0].closed


def test_part(runtime):
    assert runtime.part("expert_02") is runtime.part("expert_02")
    assert runtime.loaded_experts == (2,)
    with pytest.raises(UsageError, match="no part 'expert_03'; expected one of base, gate, expert_00"):
        runtime.part("expert_03")


class TestBudget:
    @pytest.fixture
    def sizes(self, make_bundle):
        artifacts = Bundle(make_bundle("sizes")).manifest.sets[0]
        return [round(2.25 * artifacts.parts[f"expert_{k:02d}"].bytes) for k in range(3)]  # of memory

    def test_none_keeps_all(self, runtime):
        for k in (2, 0, 1):
            runtime.part(f"expert_{k:02d}")
        assert runtime.loaded_experts == (0, 1, 2)

    def test_least_recently_used_goes_first(self, make_bundle, fake_backend, sizes):
        budget = 2 * max(sizes)
        with Runtime(make_bundle(), backend=fake_backend, expert_budget_bytes=budget) as runtime:
            for k, loaded in [(0, (0,)), (1, (0, 1)), (0, (0, 1)), (2, (0, 2)), (1, (1, 2)), (2, (1, 2))]:
                runtime.part(f"expert_{k:02d}")
                assert runtime.loaded_experts == loaded
            assert len(fake_backend.opened) == 2 + 4  # expert 1 twice
            assert sum(not p.closed for p in fake_backend.parts) == 2 + 2

    def test_room_for_one_serves_any_max_experts(self, make_bundle, fake_backend, sizes):
        path = make_bundle()
        with (
            Runtime(path, backend=fake_backend, tau=0, max_experts=3, expert_budget_bytes=max(sizes)) as tight,
            Runtime(path, backend=fake_backend, tau=0, max_experts=3) as roomy,
        ):
            for x in X[:5]:
                np.testing.assert_array_equal(tight.predict_tensor(x).scores, roomy.predict_tensor(x).scores)
                assert len(tight.loaded_experts) == 1

    def test_preload(self, make_bundle, fake_backend, sizes):
        with Runtime(make_bundle(), backend=fake_backend, tau=0, expert_budget_bytes=2 * max(sizes)) as runtime:
            assert runtime.preload([2, 2]) == (2,)
            assert runtime.preload((0,)) == (0, 2)
            assert runtime.preload([1, 0]) == (0, 1)  # what is not asked for makes room
            opened = len(fake_backend.opened)
            assert runtime.preload() == (0, 1)  # as many as there is room for
            assert runtime.preload([]) == (0, 1)
            assert len(fake_backend.opened) == opened
            with pytest.raises(UsageError, match="has room for 2 of the 3 experts to preload; preload fewer, or give"):
                runtime.preload([0, 1, 2])
            assert runtime.loaded_experts == (0, 1)

    @pytest.mark.parametrize("wrong", [3, -1, 1.0, "0", True, None])
    def test_preload_of_nobody(self, runtime, wrong):
        with pytest.raises(UsageError, match=r"there is no expert .*; expected whole numbers from 0 to 2"):
            runtime.preload([0, wrong])
        assert runtime.loaded_experts == ()

    def test_preload_without_a_budget_and_after_the_end(self, runtime):
        assert runtime.preload() == (0, 1, 2)
        runtime.close()
        with pytest.raises(UsageError, match="closed"):
            runtime.preload()

    def test_an_expert_that_fails_to_load_can_be_tried_again(self, make_bundle, fake_backend, monkeypatch):
        with Runtime(make_bundle(), backend=fake_backend) as runtime:
            with monkeypatch.context() as broken:
                broken.setattr(fake_backend, "open", lambda data, *, threads: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    runtime.part("expert_00")
            assert runtime.loaded_experts == ()
            assert runtime.part("expert_00")


@pytest.mark.parametrize("tau", [None, 0.0, 1.0])
def test_a_plain_network_always_exits(make_bundle, fake_backend, tau):
    with Runtime(make_bundle(experts=0), backend=fake_backend, tau=tau, expert_budget_bytes=0) as runtime:
        (base,) = fake_backend.parts
        assert (runtime.max_experts, runtime.loaded_experts, runtime.preload()) == (0, (), ())
        with pytest.raises(UsageError, match="there is no expert 0; a plain network has none"):
            runtime.preload([0])
        found = runtime.predict_tensor(X[0])
        assert (found.exited, found.gate_ran, found.experts, found.macs) == (True, False, (), BASE_MACS)
        np.testing.assert_array_equal(found.scores, softmax(base.output("logits")[0]))
        with pytest.raises(UsageError, match="there is no part 'gate'; expected one of base"):
            runtime.part("gate")
        with pytest.raises(UsageError, match="max_experts is 1; expected 0"):
            runtime.max_experts = 1
    with pytest.raises(UsageError, match="closed"):
        runtime.predict_tensor(X[0])
    assert base.closed
