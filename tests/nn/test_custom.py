"""Networks of one's own: found by name, only where they are marked, and told apart by their code."""

from __future__ import annotations

import hashlib
import sys

import msgspec
import pytest
import torch
from torch import nn

from edge_moe.bundle import Preprocessing
from edge_moe.errors import UsageError
from edge_moe.nn import Architecture, Base, BaseOutputs, SplitBase, base_builder, build_base, build_empty_base
from edge_moe.nn.custom import code_digest, find_builder
from edge_moe.training.checkpoint import from_state_dicts, new_mixture
from edge_moe.training.given import class_count
from tests.whole import NAME as WHOLE
from tests.whole import layers

MODULE = """
from torch import nn
from edge_moe.nn import SplitBase, base_builder

touched = []


@base_builder
def small(architecture):
    first, last = nn.Conv2d(3, 4, 3, architecture.stem_stride), nn.Linear(4, architecture.classes)
    network = nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    return SplitBase(network, ["0"], ["1"], "4")


@base_builder
def nothing(architecture):
    return nn.Linear(1, 1)


def unmarked(architecture):
    touched.append(architecture)


class Marked:
    __edge_moe_base_builder__ = 1


not_callable = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with MODULE in it as my_net.py; what it imports is forgotten afterwards."""
    (tmp_path / "my_net.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_net", None)


def architecture(base, **fields):
    return Architecture(**({"base": base, "classes": 5, "image_size": 16, "stem_stride": 1} | fields))


def test_a_builder_in_the_current_folder(here):
    base = build_base(architecture("my_net:small", classes=7)).eval()
    assert isinstance(base, SplitBase)
    logits, features, embedding = base(torch.zeros(2, 3, 16, 16))
    assert (logits.shape, features.shape, embedding.shape) == ((2, 7), (2, 4, 14, 14), (2, 4))
    assert build_empty_base(architecture("my_net:small", stem_stride=2)).shapes(16).features.shape == (1, 4, 7, 7)


def test_the_current_folder_comes_last(here):
    """A file there called as something that is installed does not hide it."""
    (here / "json.py").write_text("raise SystemExit")
    sys.modules.pop("json.tool", None)
    find_builder("my_net:small")
    assert sys.path[-1] == str(here)
    assert sys.path.count(str(here)) == 1
    find_builder("my_net:small")
    assert sys.path.count(str(here)) == 1


def test_what_is_not_marked_is_not_called(here):
    for name in ("unmarked", "Marked", "not_callable", "missing", ""):
        with pytest.raises(UsageError, match=rf"my_net has no function '{name}' marked with @edge_moe.nn.base_builder"):
            build_base(architecture(f"my_net:{name}"))
    assert sys.modules["my_net"].touched == []


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "builtins:exec", "torch:load"])
def test_a_checkpoint_cannot_call_just_anything(name):
    with pytest.raises(UsageError, match=r"marked with @edge_moe\.nn\.base_builder"):
        build_base(architecture(name))


@pytest.mark.parametrize("name", ["no_such_module:small", ":small", ".relative:small", "my net:small"])
def test_a_module_that_cannot_be_imported(here, name):
    with pytest.raises(UsageError, match=r"cannot be imported \(.*; run where it lies, or install it") as caught:
        build_base(architecture(name))
    assert repr(name) in str(caught.value)


def test_a_module_that_imports_what_is_not_there(here):
    (here / "my_net.py").write_text("import no_such_package")
    with pytest.raises(UsageError, match=r"'my_net' cannot be imported \(No module named 'no_such_package'\)"):
        build_base(architecture("my_net:small"))


def test_a_builder_that_gives_no_base(here):
    with pytest.raises(UsageError, match=r"^my_net:nothing gave a Linear; expected an edge_moe.nn.Base, such as a Spl"):
        build_base(architecture("my_net:nothing"))


def test_a_mark_does_not_change_a_function():
    def build(_):
        raise NotImplementedError

    assert base_builder(build) is build


def test_the_digest_is_that_of_the_file(here):
    before = code_digest("my_net:small")
    assert before == hashlib.sha256(MODULE.encode()).hexdigest() == code_digest("my_net:nothing")
    (here / "my_net.py").write_text(f"{MODULE}\n# as wide again\n")
    assert code_digest("my_net:small") not in ("", before)


def test_the_digest_is_that_of_the_function_s_own_file(here):
    """A module may take its builder from another one."""
    (here / "other_net.py").write_text("from my_net import small\n")
    assert code_digest("other_net:small") == hashlib.sha256(MODULE.encode()).hexdigest()
    sys.modules.pop("other_net")


def test_a_base_that_comes_with_edge_moe_has_no_digest():
    assert code_digest("mobilenet_v3_small") == ""


def test_elsewhere_it_says_where_to_run(here, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"'my_net' cannot be imported .*; run where it lies, or install it"):
        build_base(architecture("my_net:small"))
    monkeypatch.chdir(here)
    build_base(architecture("my_net:small"))


class Twice(Base):
    """Derived from Base: two branches, which no SplitBase has."""

    head_name = "head"

    def __init__(self):
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        features = self.stem(images)
        embedding = (self.left(features) + self.right(features)).mean((2, 3))
        return BaseOutputs(self.head(embedding), features, embedding)

    def new_expert(self):
        return nn.Identity()


def test_a_base_of_one_s_own_has_a_gate_and_shapes():
    base = Twice()
    shapes = base.shapes(16)
    assert (shapes.logits.shape, shapes.features.shape, shapes.embedding.shape) == ((1, 5), (1, 4, 14, 14), (1, 6))
    assert shapes.logits.is_meta
    assert not base.head.weight.is_meta
    assert base.new_gate(3, 16)(torch.zeros(2, 6)).shape == (2, 3)


def test_a_base_has_to_say_what_it_gives():
    with pytest.raises(TypeError, match="forward"):
        type("Half", (Base,), {"new_expert": lambda self: None})()


def test_a_base_that_is_to_have_experts_has_to_say_what_one_is():
    whole = build_base(Architecture(base=WHOLE, classes=5, image_size=16))
    assert not whole.shapes(16).branches
    with pytest.raises(UsageError, match=r"^Whole has no new_expert, which experts need; add that, or .*--experts 0"):
        whole.new_expert()
    with pytest.raises(UsageError, match=r"^Whole has no features and embedding in its BaseOutputs"):
        whole.new_gate(2, 16)
    with pytest.raises(UsageError, match=r"^Whole has no features and embedding"):
        new_mixture(Architecture(base=WHOLE, classes=5, image_size=16), 2)


def test_the_weights_of_a_network_fit_the_base_that_keeps_it_as_an_attribute():
    architecture = Architecture(base=WHOLE, classes=5, image_size=16)
    state = layers(5).state_dict()
    assert class_count(msgspec.structs.replace(architecture, classes=2), state) == 5
    labels = tuple("abcde")
    spec = Preprocessing(image_size=16, resize=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    found = from_state_dicts(architecture, ("it", state), labels=labels, preprocessing=spec).mixture.base.state_dict()
    assert {name: True for name in state} == {
        name.removeprefix("network."): torch.equal(tensor, state[name.removeprefix("network.")])
        for name, tensor in found.items()
    }
