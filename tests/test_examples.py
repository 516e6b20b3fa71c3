"""The networks of examples/, through all three backends, and the page that explains them."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("litert_torch")
pytest.importorskip("executorch.exir.schema")
pytest.importorskip("onnxscript")

from edge_moe import ConversionError, Runtime, backends  # noqa: E402
from edge_moe.bundle import Preprocessing  # noqa: E402
from edge_moe.converters import recipes, toolchain, workers  # noqa: E402
from edge_moe.converters.convert import ConversionOptions, convert  # noqa: E402
from edge_moe.converters.interface import channels_first  # noqa: E402
from edge_moe.data import open_data  # noqa: E402
from edge_moe.nn import Architecture  # noqa: E402
from edge_moe.training.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from edge_moe.training.fit import settle_statistics  # noqa: E402
from edge_moe.training.untrained import new_untrained  # noqa: E402
from edge_moe.verify import relative_error  # noqa: E402
from tests import fixed, tiny  # noqa: E402
from tests.fakes import PoolHere  # noqa: E402
from tests.rounding import ALLOWED, rounded  # noqa: E402

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SIZE, CLASSES, EXPERTS, IMAGES = 32, 4, 2, 8
SPEC = Preprocessing(image_size=SIZE, resize=SIZE, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
INT8 = {backend: recipes.book(backend).candidates[0] for backend in backends.native()}
OPTIONS = ConversionOptions(
    backends=backends.native(),
    recipes=tuple(f"{backend}/{name}" for backend, name in INT8.items()),
    calibration_images=IMAGES,
    validation_images=IMAGES,
)


def untrained(name, experts=EXPERTS):
    architecture = Architecture(base=name, classes=CLASSES, image_size=SIZE, stem_stride=1)
    loaded = new_untrained(architecture, experts, SPEC, seed=0)
    mixture = loaded.mixture
    for seed, part in enumerate((mixture.base, mixture.gate)):
        fixed.fill(part, seed, gain=3**0.5)
    settle_statistics(mixture.base, iter([torch.from_numpy(np.concatenate(noise("train", 32)).transpose(0, 3, 1, 2))]))
    mixture.eval()
    with torch.no_grad():
        for k, expert in enumerate(mixture.experts):  # else all of them are the base's tail
            expert.load_state_dict(mixture.base.new_expert().state_dict())
            for number, parameter in enumerate(expert.parameters()):
                parameter *= 1.15 + 0.15 * torch.from_numpy(fixed.uniform(100 * k + number, *parameter.shape))
    return loaded


def noise(split, count):
    return list(open_data("noise", split).sample(count).tensors(SPEC))


@pytest.fixture(scope="module", autouse=True)
def _examples():
    """Their folder is on Python's path, which the processes of a conversion take over."""
    with pytest.MonkeyPatch.context() as patch, tiny.one_thread():
        patch.syspath_prepend(str(EXAMPLES))
        yield


@pytest.fixture(scope="module")
def images():
    return noise("val", IMAGES)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The checkpoint of the hand-written network, its bundle and the report."""
    folder = tmp_path_factory.mktemp("examples")
    save_checkpoint(folder / "checkpoint", untrained("my_networks:small_cnn"))
    report = convert(folder / "checkpoint", "noise", folder / "bundle", OPTIONS)
    return load_checkpoint(folder / "checkpoint").mixture, folder / "bundle", report


def test_every_part_of_the_hand_written_network_is_whole_and_right(small):
    _, _, report = small
    assert report.shipped == [f"{b}/{name}" for b in backends.native() for name in (INT8[b], "fp32")]
    for label, parts in report.sets.items():
        assert [row.part for row in parts] == ["base", "gate", "expert_00", "expert_01"]
        for row in parts:
            assert row.structure is None or row.structure.is_whole
            assert (row.structure is None) is label.startswith("onnx/")
            if label.endswith("/fp32"):
                assert row.torch_error < 1e-4
    assert not any(report.missed_bars.values())


@torch.no_grad()
def test_all_backends_give_the_answers_of_torch(small, images):
    mixture, bundle, _ = small
    base, gate, experts = (
        out.numpy() for out in mixture(torch.from_numpy(np.concatenate(images).transpose(0, 3, 1, 2)))
    )
    x, seen = (channels_first(np.concatenate(some)) for some in (images, noise("train", IMAGES)))
    exact, coarse = mixture.base(seen), rounded(mixture.base, x, seen)
    coarse_gate = rounded(mixture.gate, coarse.embedding, exact.embedding).softmax(1)
    coarse_experts = torch.stack([rounded(e, coarse.features, exact.features) for e in mixture.experts], dim=1)
    phi, g = torch.softmax(torch.from_numpy(base), 1).numpy(), torch.softmax(torch.from_numpy(gate), 1).numpy()
    scores = {}
    for backend in backends.native():
        with Runtime(bundle, backend=backend, recipe="fp32", tau=0.0, max_experts=1) as runtime:
            answers = [runtime.predict_tensor(image) for image in images]
            scores[backend] = np.stack([answer.scores for answer in answers])
            for i, answer in enumerate(answers):
                k = int(g[i].argmax())
                assert answer.experts == (k,)
                expected = g[i, k] * torch.softmax(torch.from_numpy(base[i] + experts[i, k]), 0).numpy()
                np.testing.assert_allclose(answer.scores, expected, rtol=1e-3, atol=1e-5)
        with Runtime(bundle, backend=backend, recipe="fp32", tau=1.0) as runtime:  # exits
            answers = [runtime.predict_tensor(image) for image in images]
            np.testing.assert_allclose(np.stack([a.scores for a in answers]), phi, rtol=1e-3, atol=1e-5)
        with Runtime(bundle, backend=backend, recipe=INT8[backend], tau=0.0) as runtime:
            int8 = np.stack([runtime.predict_tensor(image).scores for image in images])
        # g_k softmax(base + expert_k) for the largest g_k, by a second implementation; see tests.rounding.
        most = coarse_gate.max(1)
        sums = coarse.logits + coarse_experts[torch.arange(IMAGES), most.indices]
        third = (most.values[:, None] * sums.softmax(1)).numpy()
        assert 0 < relative_error(int8, scores[backend]) < ALLOWED * relative_error(third, scores[backend]) < 0.3
    for backend in backends.native()[1:]:
        np.testing.assert_allclose(scores[backend], scores["litert"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backend", backends.native())
def test_a_resnet_of_one_s_own(backend, images, capfd):
    """Base and expert in this process: the weights of a ResNet18 take their time."""
    loaded = untrained("my_networks:wide_resnet18", 1)
    with torch.no_grad():
        out = loaded.mixture.base(torch.from_numpy(np.concatenate(images).transpose(0, 3, 1, 2)))
        expert = loaded.mixture.experts[0](out.features)
    features = np.ascontiguousarray(out.features.permute(0, 2, 3, 1).numpy()[:, np.newaxis])
    tools = toolchain.get(backend)
    for kind, part, x, expected in (
        ("base", loaded.mixture.base, np.stack(images), out.logits.numpy()),
        ("expert", loaded.mixture.experts[0], features, expert.numpy()),
    ):
        wanted = [recipes.get(backend, name) for name in ("fp32", INT8[backend])]
        artifacts = list(tools.build(tools.trace(part, kind, x[0]), part, kind, x, wanted))
        coarse = rounded(part, channels_first(x[:, 0]))
        int8_error = relative_error((coarse.logits if kind == "base" else coarse).numpy(), expected)
        assert ALLOWED * int8_error < 0.5
        for artifact, bound in zip(artifacts, (1e-4, ALLOWED * int8_error), strict=True):
            found = tools.structure(artifact)
            assert found is None or found.is_whole
            opened = backends.get(backend).open(artifact)
            found = []
            for one in x:
                opened.invoke(one)
                found.append(opened.output("logits")[0])
            opened.close()
            assert relative_error(np.stack(found), expected) < bound
        assert len(artifacts[1]) < 0.3 * len(artifacts[0])  # all its heavy layers are int8
    capfd.readouterr()


ODD = """
import copy
import torch
from torch import nn
from edge_moe.nn import Base, BaseOutputs, base_builder

class Odd(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)

class Tail(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        embedding = nn.functional.adaptive_avg_pool2d(self.convolution(x), 1).flatten(1)
        return self.head(embedding), embedding

class Expert(nn.Module):
    def __init__(self, tail):
        super().__init__()
        self.tail = copy.deepcopy(tail)

    def forward(self, features):
        return self.tail(features)[0]

class Network(Base):
    head_name = "tail.head"

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.peculiar = nn.Sequential(nn.Hardswish(), Odd())
        self.tail = Tail()

    def forward(self, images):
        features = self.peculiar(self.stem(images))
        logits, embedding = self.tail(features)
        return BaseOutputs(logits, features, embedding)

    def new_expert(self):
        return Expert(self.tail)

@base_builder
def odd(architecture):
    return Network()
"""


@pytest.mark.parametrize("backend", backends.native())
def test_an_operator_that_no_backend_takes(backend, tmp_path, monkeypatch, capfd):
    (tmp_path / "odd_network.py").write_text(ODD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "odd_network", raising=False)
    monkeypatch.setattr(workers, "Pool", PoolHere)
    save_checkpoint(tmp_path / "checkpoint", untrained("odd_network:odd", 1))
    options = ConversionOptions(backends=(backend,), calibration_images=2, validation_images=2)
    with pytest.raises(ConversionError, match=rf"^{backend}/base: .*\bpeculiar\.1\b.*bessel_j0") as caught:
        convert(tmp_path / "checkpoint", "noise", tmp_path / "bundle", options)
    assert "\n" not in str(caught.value)
    assert "replace the operator, or leave the backend out" in str(caught.value)
    assert not (tmp_path / "bundle").exists()
    capfd.readouterr()


def code_blocks():
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/your-own-network.md").read_text(), re.M | re.S)


def names_in(tree):
    """Every name, attribute, argument and keyword that the code says."""
    found = set()
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(value := getattr(node, field, None), str):
                found.add(value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_the_page_says_what_the_example_does():
    example = ast.parse((EXAMPLES / "my_networks.py").read_text())
    blocks = [ast.parse(block) for block in code_blocks()]
    assert len(blocks) == 3
    for block in blocks:
        assert names_in(block) <= names_in(example)
    defined = {node.name: node for node in ast.walk(example) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for block in blocks:
        for node in block.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                whole = defined[node.name]
                assert type(whole) is type(node)
                for statement in [s for one in ast.walk(node) for s in getattr(one, "body", [])]:
                    if isinstance(statement, ast.Return | ast.Assign):
                        said = {ast.dump(one) for one in ast.walk(whole)}
                        assert ast.dump(statement) in said, ast.unparse(statement)


def test_the_page_s_command_names_a_network_of_the_example():
    import my_networks

    page = (ROOT / "docs/your-own-network.md").read_text()
    named = set(re.findall(r"my_networks:(\w+)", page + (EXAMPLES / "my_networks.py").read_text()))
    assert named
    for name in named:
        base = getattr(my_networks, name)(Architecture(base=f"my_networks:{name}", classes=CLASSES, image_size=SIZE))
        assert base.shapes(SIZE).logits.shape == (1, CLASSES)
