"""Files of weights that others wrote: opened, unwrapped, refused where they are not weights."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from edge_moe.errors import CheckpointError
from edge_moe.training.base import load_base_weights
from edge_moe.training.weights import fit_names, load_state, read_weights
from tests.training.test_base import changed, new_base, state

# --- files ---


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_either_format(tmp_path: Path, suffix: str, prefix: str) -> None:
    state, file = {"a.weight": torch.randn(2, 3), "a.bias": torch.randn(2)}, tmp_path / f"w{suffix}"
    stored = {prefix + key: value for key, value in state.items()}
    safetensors.torch.save_file(stored, file) if suffix == ".safetensors" else torch.save(stored, file)
    found = read_weights(file)
    assert list(sorted(found)) == sorted(state)
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_nested_state_dict_is_found(tmp_path: Path, key: str) -> None:
    torch.save({"epoch": 3, key: {"module.bias": torch.ones(2)}}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth")["bias"].tolist() == [1, 1]


class _Code:
    """Pickled code: makes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("save", ["torch", "pickle"])
def test_code_in_weights_is_not_run(tmp_path: Path, save: str, protocol: int) -> None:
    file, trace = tmp_path / "evil.pth", tmp_path / "trace"
    evil = {"weight": _Code(trace)}
    if save == "torch":
        torch.save(evil, file, pickle_protocol=protocol)
    else:
        file.write_bytes(pickle.dumps(evil, protocol))
    with pytest.raises(CheckpointError, match=r"evil\.pth is damaged, or .*state_dict"):
        read_weights(file)
    assert not trace.exists()
    torch.load(file, weights_only=False) if save == "torch" else pickle.loads(file.read_bytes())
    assert trace.exists(), "the test's code would not have run in any case"


def _whole(suffix: str) -> bytes:
    if suffix == ".safetensors":
        return safetensors.torch.save({"weight": torch.ones(100)})
    torch.save({"weight": torch.ones(100)}, buffer := io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["empty", "text", "half", "short"])
def test_damaged_weights_are_refused(tmp_path: Path, suffix: str, damage: str) -> None:
    whole, file = _whole(suffix), tmp_path / f"w{suffix}"
    file.write_bytes(
        {"empty": b"", "text": b"hello, world", "half": whole[: len(whole) // 2], "short": whole[:-1]}[damage]
    )
    with pytest.raises(CheckpointError, match=r"w\.\w+ is damaged.*; expected a state dict"):
        read_weights(file)
    file.write_bytes(whole)
    assert len(read_weights(file)["weight"]) == 100


@pytest.mark.parametrize("stored", [[1, 2], {"weight": "text"}, torch.ones(2), {"state_dict": {"epoch": 3}}])
def test_what_is_no_state_dict_is_refused(tmp_path: Path, stored: Any) -> None:
    torch.save(stored, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth does not exist; expected a state dict"):
        read_weights(tmp_path / "gone.pth")


def test_loading_changes_nothing_when_it_fails() -> None:
    layer = nn.Linear(2, 2)
    before = {key: tensor.clone() for key, tensor in layer.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"w does not fit: it has bias \(3,\) instead of \(2,\)"):
        load_state(layer, {"weight": torch.zeros(2, 2), "bias": torch.zeros(3)}, "w")
    assert all(torch.equal(layer.state_dict()[key], before[key]) for key in before)


# --- what others put around them ---

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
OTHER = {key: tensor + 1 for key, tensor in STATE.items()}


def _prefixed(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in state.items()}


def _saved(tmp_path: Path, stored: Any) -> Path:
    torch.save(stored, tmp_path / "w.pth")
    return tmp_path / "w.pth"


@pytest.mark.parametrize(
    "stored",
    [
        _prefixed("_orig_mod."),
        _prefixed("module._orig_mod."),
        _prefixed("_orig_mod.module."),
        {"n_averaged": torch.tensor(7), **_prefixed("module.")},
        {"model_state_dict": STATE, "epoch": 1, "loss": 0.5},
        {"net": STATE},
        {"model": {"state_dict": _prefixed("module."), "name": "small"}},
        {"state_dict": STATE, "optimizer": {"state": {0: {"momentum": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}},
        {"model": STATE, "optimizer": {"state": {"a.weight": {"momentum": torch.ones(2)}}}},
        {"model": STATE, "rng_state": {"torch": torch.zeros(8, dtype=torch.uint8)}},
    ],
)
def test_the_one_state_dict_is_unwrapped(tmp_path: Path, stored: Any) -> None:
    found = read_weights(_saved(tmp_path, stored))
    assert list(found) == list(STATE)
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ({"model": STATE, "model_ema": OTHER, "epoch": 3}, "'model', 'model_ema'"),
        ({"epoch": 3, "state_dict": STATE, "state_dict_ema": OTHER}, "'state_dict', 'state_dict_ema'"),
        ({"model": {"student": STATE, "teacher": OTHER}}, "'student', 'teacher'"),
    ],
)
def test_of_two_state_dicts_none_is_chosen(tmp_path: Path, stored: Any, names: str) -> None:
    with pytest.raises(CheckpointError, match=rf"w\.pth holds 2 state dicts \({names}\) .* expected one: save that al"):
        read_weights(_saved(tmp_path, stored))


def test_a_prefix_that_only_some_names_have_is_part_of_them(tmp_path: Path) -> None:
    mixed = {"module.a.weight": torch.ones(1), "b.weight": torch.ones(1)}
    assert list(read_weights(_saved(tmp_path, mixed))) == list(mixed)


@pytest.mark.parametrize("prefix", ["model.", "net.", "_forward_module."])
def test_an_attribute_in_front_of_every_name_is_dropped_where_the_rest_fits(prefix: str) -> None:
    assert fit_names(_prefixed(prefix), STATE) == STATE
    assert fit_names(_prefixed("model.", {"a.weight": torch.ones(1)}), STATE) == {"model.a.weight": torch.ones(1)}
    assert list(fit_names(_prefixed(prefix), _prefixed(prefix))) == list(_prefixed(prefix))


@pytest.mark.parametrize("prefix", ["", "model.", "model.module._orig_mod."])
def test_what_others_keep_beside_the_network_is_left(prefix: str) -> None:
    counted = {f"{where}{name}": torch.zeros(1) for where in ("", "a.") for name in ("total_ops", "total_params")}
    assert fit_names(_prefixed(prefix, STATE | counted), STATE) == STATE
    if prefix:
        assert fit_names(_prefixed(prefix) | {"loss.weight": torch.ones(3)}, STATE) == STATE


def test_what_pruning_took_apart_is_one_weight_again() -> None:
    mask = torch.tensor([[1.0, 0, 1], [0, 1, 1]])
    pruned = {"net.a.weight_orig": STATE["a.weight"], "net.a.weight_mask": mask, "net.a.bias": STATE["a.bias"]}
    found = fit_names(pruned, STATE)
    assert found.keys() == STATE.keys()
    assert found["a.weight"].tolist() == [[0, 0, 2], [0, 4, 5]]


def test_of_a_network_and_its_average_in_one_dict_none_is_chosen() -> None:
    both = _prefixed("model.") | _prefixed("ema.module.", OTHER)
    with pytest.raises(CheckpointError, match=r"w\.pth holds the network 2 times, behind 'ema\.module\.', 'model\.'"):
        fit_names(both, STATE, "w.pth")


def test_weights_of_something_else_are_told_by_three_names() -> None:
    layer = nn.Linear(2, 2)
    other = {f"conv{number}.weight": torch.zeros(1) for number in range(5)}
    with pytest.raises(CheckpointError) as caught:
        load_state(layer, other, "w")
    assert str(caught.value) == (
        "w does not fit: none of its names is one of the network's; it has conv0.weight, conv1.weight, conv2.weight "
        "and 2 more tensors, expected weight, bias: is it of another architecture, or another part?"
    )


def test_a_whole_network_as_an_expert_says_what_was_expected() -> None:
    layer = nn.Linear(2, 2)
    whole = {"features.0.weight": torch.zeros(1), **layer.state_dict()}
    with pytest.raises(
        CheckpointError, match=r"has features\.0\.weight that do not belong there; expected weight to bias"
    ):
        load_state(layer, whole, "w")


def test_what_a_dict_holds_instead_is_said(tmp_path: Path) -> None:
    file = _saved(tmp_path, {"epoch": 3, "packed": (torch.zeros(1), None), "x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"no state dict but a dict with epoch \(int\), packed \(tuple\); exp"):
        read_weights(file)


def test_a_lightning_checkpoint_becomes_a_base(tmp_path: Path) -> None:
    given = state(new_base(7, seed=5))
    file = _saved(tmp_path, {"state_dict": _prefixed("model.", given), "hyper_parameters": {"lr": 0.1}})
    base = new_base()
    assert not load_base_weights(base, file)  # other classes
    last = {"classifier.3.weight", "classifier.3.bias"}
    assert changed({key: given[key] for key in given if key not in last}, base) == set()


# --- types ---


@pytest.mark.parametrize(
    "dtype",
    [torch.int8, torch.uint8, torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2],
)
def test_what_is_no_float_is_no_weight(dtype: torch.dtype) -> None:
    """Cast to float, whole numbers up to 127 would be taken for weights."""
    layer = nn.Linear(2, 2)
    before = {key: tensor.clone() for key, tensor in layer.state_dict().items()}
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(CheckpointError, match=rf"^w does not fit: weight is {name}; expected float32, float64, float1"):
        load_state(layer, {"weight": torch.ones(2, 2).to(dtype), "bias": torch.ones(2)}, "w")
    assert all(torch.equal(layer.state_dict()[key], before[key]) for key in before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_are_converted(dtype: torch.dtype) -> None:
    layer = nn.Linear(2, 2)
    weight = torch.tensor([[0.1, -3.0], [1e-3, 100.0]], dtype=dtype)
    load_state(layer, {"weight": weight, "bias": torch.ones(2, dtype=dtype)}, "w")
    assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight, weight.float())


def test_a_number_too_large_for_the_type_is_refused() -> None:
    weight = torch.full((2, 2), 1e39, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="weight is float64 with values beyond the largest float32"):
        load_state(nn.Linear(2, 2), {"weight": weight, "bias": torch.ones(2)}, "w")


@pytest.mark.parametrize(
    ("weight", "kind"),
    [
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.ones(2, 2, device="meta"), "without values"),
    ],
)
def test_tensors_that_are_not_plain_are_refused(weight: Tensor, kind: str) -> None:
    with pytest.raises(CheckpointError, match=f"w does not fit: weight is {kind}; expected a plain tensor of float32"):
        load_state(nn.Linear(2, 2), {"weight": weight, "bias": torch.ones(2)}, "w")


def test_whole_numbers_stay_whole() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("index", torch.zeros(2, dtype=torch.int64))
            self.norm = nn.BatchNorm2d(2)

    part = Part()
    given = {key: torch.ones_like(tensor) for key, tensor in part.state_dict().items()}
    given["norm.num_batches_tracked"] = torch.tensor(torch.inf, dtype=torch.float16)  # made half with all the others
    load_state(part, given | {"index": torch.ones(2, dtype=torch.int32)}, "w")
    assert part.index.tolist() == [1, 1]
    assert part.norm.num_batches_tracked == 0
    for value in (torch.ones(2), torch.ones(2, dtype=torch.bool)):
        with pytest.raises(CheckpointError, match=r"index is (float32|bool); expected int64"):
            load_state(part, given | {"index": value}, "w")


def test_a_file_is_told_by_its_contents(tmp_path: Path) -> None:
    weights = {"weight": torch.arange(3.0)}
    safetensors.torch.save_file(weights, tmp_path / "w.pth")
    torch.save(weights, tmp_path / "new.bin")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("w.pth", "new.bin", "old.pth"):
        assert read_weights(tmp_path / name)["weight"].tolist() == [0, 1, 2]


def write_packed(file: Path) -> None:
    """Write 4 MB of weights as torch does not: in a zip of some kB."""
    torch.save({"weight": torch.zeros(1 << 20)}, whole_file := io.BytesIO())
    with zipfile.ZipFile(whole_file) as whole, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))


def test_a_zip_that_is_packed_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    write_packed(tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 50_000
    with pytest.raises(CheckpointError, match=r"w\.pth is a packed zip.*save it again, with torch\.save"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_of_weights_that_do_not_fit_only_the_shapes_are_read(tmp_path: Path, kind: str) -> None:
    """A file of 3 GB that is a hole: nothing of it may come into memory before it is refused."""
    size, file = 3 << 30, tmp_path / "w.pth"
    if kind == "safetensors":
        header = json.dumps({"weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
        file.write_bytes(len(header).to_bytes(8, "little") + header)
        os.truncate(file, 8 + len(header) + size)
    else:
        torch.save({"weight": torch.zeros(1).expand(size // 4)}, file)
    before = _resident()
    with pytest.raises(CheckpointError, match=r"weight \(805306368,\) instead of \(2, 2\)"):
        load_state(nn.Linear(2, 2, bias=False), read_weights(file), "w.pth")
    assert _resident() - before < 100 << 20


def _resident() -> int:
    """The most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_an_expert_is_not_taken_for_a_gate() -> None:
    """The names of a gate, weight and bias, end those of every layer of another network."""
    layers = {f"features.{k}.{name}": torch.ones(1) for k in range(9) for name in ("weight", "bias")}
    with pytest.raises(CheckpointError, match=r"e\.pth does not fit: none of its names is one of the network's"):
        load_state(nn.Linear(2, 2), layers, "e.pth")


def test_a_packed_zip_without_its_end_is_refused_too(tmp_path: Path) -> None:
    """Torch finds the entries of a zip that ends in another mark; the zip module does not."""
    write_packed(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes() + b"PK\x05\x06")
    with pytest.raises(CheckpointError, match=r"w\.pth is (damaged: a zip without its end|a packed zip)"):
        read_weights(tmp_path / "w.pth")
