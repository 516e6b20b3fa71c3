"""What holds for every toolchain: artifacts against torch, and against each other, on a network of five layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edge_moe.converters import recipes, toolchain
from edge_moe.converters.interface import channels_first
from edge_moe.errors import UsageError
from edge_moe.verify import relative_error
from tests import fixed
from tests.converters.conftest import BACKENDS, KINDS, SIZE, allowed, run, run_torch, split, sure
from tests.converters.conftest import Network as Small
from tests.rounding import ALLOWED, rounded

EVERY_INT8 = [(b, name) for b in BACKENDS for name in recipes.book(b).recipes if name != recipes.FLOAT]


@pytest.mark.parametrize("backend", ["litert", "onnx", "executorch"])
def test_each_is_found_by_the_name_of_its_backend(backend):
    assert toolchain.get(backend).backend == backend


def test_an_unknown_backend():
    with pytest.raises(UsageError, match="unknown backend 'tpu'"):
        toolchain.get("tpu")


@pytest.fixture(scope="module")
def expected(parts, samples):
    return {kind: run_torch(part, kind, samples[kind]) for kind, part in parts.items()}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_fp32_is_torch(make_artifact, samples, expected, backend, kind):
    found = run(backend, make_artifact.fp32(backend, kind), kind, samples[kind])
    assert found.keys() == expected[kind].keys()
    for name, value in expected[kind].items():
        assert (found[name].shape, found[name].dtype) == (value.shape, np.float32)
        assert relative_error(found[name], value) < 1e-4, name


@pytest.mark.parametrize("kind", KINDS)
def test_fp32_of_two_backends_is_the_same(make_artifact, samples, kind):
    found = [run(backend, make_artifact.fp32(backend, kind), kind, samples[kind]) for backend in BACKENDS]
    for name, value in found[0].items():
        assert relative_error(found[1][name], value) < 1e-5, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_maps_come_and_go_with_channels_last(make_artifact, samples, backend):
    assert samples["base"].shape[1:] == (1, SIZE, SIZE, 3)
    assert samples["expert"].shape[1:] == (1, SIZE // 2, SIZE // 2, 8)
    found = run(backend, make_artifact.fp32(backend, "base"), "base", samples["base"][:1])
    assert found["features"].shape == (1, SIZE // 2, SIZE // 2, 8)


# LiteRT's stock recipe takes moving averages for ranges, which clip: how far it strays is for the bars to see.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("backend", "name"), [one for one in EVERY_INT8 if one != ("litert", "int8-stock")])
def test_every_int8_recipe_follows_torch(make_artifact, parts, samples, expected, backend, name, kind):
    (model,) = make_artifact(backend, kind, recipes.get(backend, name))
    found = run(backend, model, kind, samples[kind])
    bounds = allowed(parts[kind], kind, samples[kind])
    for output, value in expected[kind].items():
        assert found[output].dtype == np.float32
        assert relative_error(found[output], value) < bounds[output] < 0.05, output
    logits = found["logits"]
    assert not np.array_equal(logits, run(backend, make_artifact.fp32(backend, kind), kind, samples[kind])["logits"])
    decided, answers = sure(parts[kind], kind, samples[kind]), expected[kind]["logits"].argmax(axis=1)
    np.testing.assert_array_equal(logits.argmax(axis=1)[decided], answers[decided])
    assert decided.mean() > 0.9
    assert len(np.unique(answers)) == logits.shape[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_recipes_in_one_call_are_those_made_alone(parts, samples, traced, make_artifact, backend):
    every = list(recipes.book(backend).recipes.values())
    together = make_artifact(backend, "expert", *every, part=parts["expert"])
    assert together == [make_artifact(backend, "expert", recipe)[0] for recipe in every]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_bytes_twice(samples, traced, backend):
    torch.manual_seed(5)  # weights do not matter
    expert = split(Small()).new_expert().eval()
    assert toolchain.get(backend).trace(expert, "expert", samples["expert"][0]) == traced[backend, "expert"]


class BothEnds(nn.Module):
    """Its layers are known by hand: the first reads the sample, the second what a ReLU leaves of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 4, 1)
        fixed.fill(self)

    def forward(self, x):
        return self.two(self.one(x).relu()).mean((2, 3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_layers_are_compared_with_what_torch_gives_them(samples, backend):
    part, x, tools = BothEnds().eval(), samples["expert"][:20], toolchain.get(backend)
    recipe = recipes.get(backend, "int8-all")
    found = list(tools.compare(tools.trace(part, "expert", x[0]), part, "expert", x, recipe))
    assert [one.layer for one in found] == ["one", "two"] * toolchain.COMPARED
    # The same places by a second implementation that rounds, over all samples.
    upto = [nn.Sequential(part.one), nn.Sequential(part.one, nn.ReLU()), nn.Sequential(part.one, nn.ReLU(), part.two)]
    coarse = [rounded(one, channels_first(x[:, 0])) for one in upto]
    with torch.no_grad():
        for number, (sample, one, two) in enumerate(zip(x, found[::2], found[1::2], strict=False)):
            given = torch.from_numpy(sample).permute(0, 3, 1, 2)
            between = part.one(given)
            result = part.two(between.relu())
            pairs = [(one.inputs, given), (one.outputs, between), (two.inputs, between.relu()), (two.outputs, result)]
            for place, ((exact, quantized), value) in enumerate(pairs):
                reference = value.numpy() if backend == "onnx" else value.permute(0, 2, 3, 1).numpy()
                if place == 1 and backend == "litert":  # whose convolution has the ReLU inside
                    reference = reference.clip(0)
                assert relative_error(exact, reference) < 1e-5
                if place > 0:  # a layer's own rounding of its input is not its input's noise
                    bound = ALLOWED * relative_error(coarse[place - 1][number : number + 1].numpy(), value.numpy())
                    assert 1e-4 < relative_error(quantized.reshape(exact.shape).clip(exact.min()), exact) < bound
            np.testing.assert_array_equal(one.inputs[0], one.inputs[1])
