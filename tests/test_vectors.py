"""The golden vectors, held against the rule in ten lines of plain Python: no numpy, in double."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from edge_moe import BundleError, Runtime, vectors
from edge_moe.backends import Backend, OpenPart
from edge_moe.verify import verify
from tests.fakes import agree
from tests.test_bundle import change, flip

KINDS = [(e, s) for e in ("bagging", "expert") for s in ("logit", "probability")]
SIZES = [(1, 2), (2, 2), (2, 3), (3, 3), (4, 10), (20, 200)]


def softmax(logits):
    top = max(logits)
    powers = [math.exp(z - top) for z in logits]
    return [p / sum(powers) for p in powers]


def plain(vector, kind, space):
    """Return gate_ran, experts, scores, label: as a port might have them."""
    phi = softmax(vector.base_logits)
    base = vector.base_logits.index(max(vector.base_logits))
    if not vector.gate_logits or 1 - max(phi) < vector.tau:
        return False, (), phi, base
    g = softmax(vector.gate_logits)
    order = sorted(range(len(g)), key=lambda k: (-g[k], k))[: vector.max_experts]
    active = sorted(k for k in order if g[k] * (1 - max(phi)) >= vector.tau)
    if not active:
        return True, (), phi, base
    scores = [0.0] * len(phi)
    for k in active:
        expert = vector.expert_logits[k]
        if kind == "expert":
            d = softmax(expert)
        elif space == "logit":
            d = softmax([a + b for a, b in zip(vector.base_logits, expert, strict=True)])
        else:
            d = [(a + b) / 2 for a, b in zip(phi, softmax(expert), strict=True)]
        scores = [s + g[k] * one for s, one in zip(scores, d, strict=True)]
    return True, tuple(active), scores, scores.index(max(scores))


@pytest.mark.parametrize(("kind", "space"), KINDS)
@pytest.mark.parametrize(("experts", "classes"), [*SIZES, (0, 3), (0, 1), (1, 1), (3, 1)])
def test_a_second_implementation_agrees(experts, classes, kind, space):
    data = vectors.make(experts, classes, kind, space)
    assert vectors.make(experts, classes, kind, space) == data
    found = vectors.decode(data)
    for one in found.vectors:
        assert vectors.problem(one, found) is None
        gate_ran, active, scores, label = plain(one, kind, space)
        assert (one.name, one.gate_ran, one.experts, one.label) == (one.name, gate_ran, active, label)
        np.testing.assert_allclose(one.scores, scores, rtol=1e-5, atol=1e-30)


class Played(Backend):
    """Gives the logits of a vector, whatever it is fed."""

    name, suffix = "fake", ".npz"

    def __init__(self, vector):
        self.vector, self.opened = vector, []

    def open(self, data, *, threads=1):
        part = PlayedPart(self.vector, len(self.opened))
        self.opened.append(part)
        return part

    def version(self):
        return "played 1"


class PlayedPart(OpenPart):
    def __init__(self, vector, number):
        # A runtime opens base and gate, and then the experts that it needs, in ascending order.
        asked = vector.experts[number - 2] if number > 1 else None
        logits = (vector.base_logits, vector.gate_logits)[number] if number < 2 else vector.expert_logits[asked]
        self.logits = np.array([logits], np.float32)

    def invoke(self, tensor):
        pass

    def output(self, name):
        return self.logits

    def tensors(self):
        raise NotImplementedError

    def close(self):
        pass


@pytest.mark.parametrize(("kind", "space"), KINDS)
@pytest.mark.parametrize(("experts", "classes"), SIZES[:-1])
def test_the_runtime_decides_as_they_say(make_bundle, experts, classes, kind, space):
    path = make_bundle(experts=experts, classes=classes, kind=kind, space=space)
    for one in vectors.decode((path / "golden/vectors.json").read_bytes()).vectors:
        with Runtime(path, backend=Played(one), tau=one.tau, max_experts=one.max_experts) as model:
            answer = model.predict_tensor(np.zeros((1, 4, 4, 3), np.float32))
        found = (answer.gate_ran, answer.experts, answer.index)
        assert found == (one.gate_ran, one.experts, one.label), one.name
        np.testing.assert_allclose(answer.scores, one.scores, rtol=1e-5, atol=1e-30)


def test_what_they_are_about():
    found = {one.name: one for one in vectors.decode(vectors.make(3, 4, "bagging", "logit")).vectors}
    tie = found["two gates alike: the lower index"]
    assert sorted(tie.gate_logits)[-1] == sorted(tie.gate_logits)[-2]
    assert tie.experts == (1,)
    assert tie.gate_logits[1] == tie.gate_logits[2]
    border, above = found["tau is alpha: runs"], found["tau is above alpha: exit"]
    assert (border.tau, border.experts, above.experts) == (0.25, (1, 2), ())  # 1/2 of a doubt of 1/2
    assert above.tau > 0.25
    assert above.gate_ran
    assert not found["exit before the gate"].gate_ran
    two = found["two experts: weights are not renormalised"]
    assert len(two.experts) == 2
    assert sum(two.scores) < 0.999
    assert found["two gates alike for the second place"].experts == (0, 1)


@pytest.mark.parametrize(("kind", "space"), KINDS)
@pytest.mark.parametrize(("experts", "classes"), SIZES)
def test_no_last_bit_decides(experts, classes, kind, space):
    for one in vectors.decode(vectors.make(experts, classes, kind, space)).vectors:
        best = sorted(one.scores)[::-1]
        assert "classes alike" in one.name or not one.experts or best[0] - best[1] > 0.01 * best[0]


def test_another_rule_is_told(make_bundle, fake_backend):
    """The file is intact, and says something else than this package's rule: of a release with another rule, say."""
    path = make_bundle()

    def other(raw):
        data = (path / "golden/vectors.json").read_bytes()
        content = msgspec.json.decode(data)
        content["vectors"][2]["experts"] = [0]
        data = msgspec.json.encode(content)
        (path / "golden/vectors.json").write_bytes(data)
        from edge_moe.records import sha256

        raw["golden"]["vectors"] |= {"sha256": sha256(data), "bytes": len(data)}

    raw = msgspec.json.decode((path / "manifest.json").read_bytes())
    other(raw)
    (path / "manifest.json").write_bytes(msgspec.json.encode(raw))
    agree(path)
    (failed,) = [one for one in verify(path, backend=fake_backend) if not one.passed]
    assert (failed.set, failed.what) == ("bundle", "golden/vectors.json")
    assert failed.detail == "one expert: experts is (2,), expected (0,)"


def test_of_another_bundle(make_bundle, fake_backend):
    path = make_bundle(edit=change("space", to="probability"))
    failed = [one for one in verify(path, backend=fake_backend) if not one.passed]
    assert failed[0].what == "golden/vectors.json"
    assert failed[0].detail == "of 3 experts, 5 classes, bagging in logit space; expected 3, 5, bagging in probability"


def test_damaged(make_bundle, fake_backend):
    path = make_bundle()
    flip(path / "golden/vectors.json")
    (failed,) = [one for one in verify(path, backend=fake_backend) if not one.passed]
    assert "was altered" in failed.detail


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"schema_version": 1}'])
def test_no_vectors(data):
    with pytest.raises(BundleError, match="the golden vectors cannot be read"):
        vectors.decode(data)
