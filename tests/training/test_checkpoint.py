from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from edge_moe.checkpoint import read_config, write_config
from edge_moe.errors import CheckpointError, OutputError, UsageError
from edge_moe.nn import SingleGateMoE
from edge_moe.training.checkpoint import Checkpoint, from_state_dicts, load_checkpoint, new_mixture, save_checkpoint
from edge_moe.training.untrained import new_untrained
from tests.training.conftest import CLASSES, contents, small_architecture, small_preprocessing

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def mixture() -> SingleGateMoE:
    torch.manual_seed(0)
    mixture = new_mixture(small_architecture(), 2)
    for part in mixture.parameters():
        nn.init.normal_(part, std=0.1)  # so that the experts differ
    return mixture


def states(mixture: SingleGateMoE) -> dict[str, State]:
    parts = {"base": mixture.base, "gate": mixture.gate, "e0": mixture.experts[0], "e1": mixture.experts[1]}
    return {name: dict(part.state_dict()) for name, part in parts.items()}


def assemble(parts: dict[str, State], **options: Any) -> Checkpoint:
    base, gate, *experts = parts.items()
    options = {"labels": CLASSES, "preprocessing": small_preprocessing()} | options
    return from_state_dicts(small_architecture(), base, gate, experts, **options)


def same(left: nn.Module, right: nn.Module) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


def test_what_is_saved_is_what_is_loaded(mixture: SingleGateMoE, tmp_path: Path) -> None:
    checkpoint = assemble(states(mixture), ensemble="expert", space="probability")
    assert checkpoint.config.origin == "imported"
    assert not checkpoint.mixture.training
    save_checkpoint(tmp_path / "a", checkpoint)
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded.config == checkpoint.config
    assert same(loaded.mixture, mixture)
    assert not loaded.mixture.training
    assert sorted(contents(tmp_path)) == [
        f"a/{name}"
        for name in (
            "base.safetensors",
            "config.json",
            "expert_00.safetensors",
            "expert_01.safetensors",
            "gate.safetensors",
        )
    ]
    save_checkpoint(str(tmp_path / "b"), loaded)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_untrained_checkpoint_says_so_and_follows_its_seed() -> None:
    a, b, c = (new_untrained(small_architecture(), 2, small_preprocessing(), seed=seed) for seed in (1, 1, 2))
    assert a.config.origin == "untrained"
    assert a.config.labels == ("class 0", "class 1", "class 2")
    assert same(a.mixture, b.mixture)
    assert not same(a.mixture, c.mixture)


def _rename(old: str, new: str) -> Callable[[State], None]:
    def edit(state: State) -> None:
        state[new] = state.pop(old)

    return edit


@pytest.mark.parametrize(
    ("part", "edit", "message"),
    [
        ("base", lambda s: s.pop("features.0.0.weight"), r"base does not fit: it lacks features\.0\.0\.weight$"),
        ("base", lambda s: s.update(extra=torch.zeros(1)), r"base does not fit: it has extra that do not belong there"),
        (
            "base",
            _rename("features.0.0.weight", "stem.weight"),
            r"lacks features\.0\.0\.weight, and it has stem\.weight",
        ),
        (
            "gate",
            lambda s: s.update(weight=torch.zeros(5, 576)),
            r"gate .* has weight \(5, 576\) instead of \(2, 576\)",
        ),
        ("gate", lambda s: s["weight"].__setitem__((0, 0), torch.nan), r"gate .* NaN or infinite values in weight"),
        (
            "e1",
            lambda s: s["classifier.3.bias"].fill_(torch.inf),
            r"e1 .* NaN or infinite values in classifier\.3\.bias",
        ),
        ("e1", lambda s: s.pop("classifier.3.bias"), r"e1 does not fit: it lacks classifier\.3\.bias"),
        (
            "e0",
            lambda s: s.update({"features.0.0.weight": torch.zeros(1)}),
            r"e0 .* features\.0\.0\.weight that do not",
        ),
        ("e0", lambda s: s.clear(), r"e0 does not fit: it lacks \S+, \S+, \S+ and \d+ more tensors"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    mixture: SingleGateMoE, part: str, edit: Callable[[State], Any], message: str
) -> None:
    parts = {name: {key: tensor.clone() for key, tensor in state.items()} for name, state in states(mixture).items()}
    edit(parts[part])
    with pytest.raises(CheckpointError, match=message):
        assemble(parts)


def test_batch_norms_counter_may_be_missing(mixture: SingleGateMoE) -> None:
    parts = {
        name: {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
        for name, state in states(mixture).items()
    }
    assert len(parts["base"]) < len(states(mixture)["base"])
    assert same(assemble(parts).mixture, mixture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("cat", "dog")}, "3 different labels.*found 2"),
        ({"labels": ("cat", "dog", "dog")}, "3 different labels.*found 3, 2 of them different"),
        ({"labels": ("cat", "caf\u00e9", "cafe\u0301")}, "3 different labels.*found 3, 2 of them different"),
        ({"preprocessing": msgspec.structs.replace(small_preprocessing(), image_size=24, resize=24)}, "16 pixels.*24"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(mixture: SingleGateMoE, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        assemble(states(mixture), **options)


def test_a_mixture_needs_an_expert(mixture: SingleGateMoE) -> None:
    parts = states(mixture)
    with pytest.raises(UsageError, match="at least one expert"):
        assemble({"base": parts["base"], "gate": parts["gate"]})
    options = {"labels": CLASSES, "preprocessing": small_preprocessing()}
    with pytest.raises(UsageError, match="needs its gate; found 1 experts and none"):
        from_state_dicts(small_architecture(), ("b", parts["base"]), None, [("e0", parts["e0"])], **options)


def test_a_state_dict_alone_is_a_plain_network(mixture: SingleGateMoE, tmp_path: Path) -> None:
    options = {"labels": CLASSES, "preprocessing": small_preprocessing()}
    checkpoint = from_state_dicts(small_architecture(), ("base", states(mixture)["base"]), **options)
    assert (checkpoint.config.experts, checkpoint.config.origin) == (0, "imported")
    save_checkpoint(tmp_path / "c", checkpoint)
    assert {file.name for file in (tmp_path / "c").iterdir()} == {"config.json", "base.safetensors"}
    loaded = load_checkpoint(tmp_path / "c").mixture
    assert loaded.gate is None
    assert same(loaded.base, mixture.base)
    found = loaded(torch.zeros(4, 3, 16, 16))
    assert [tuple(part.shape) for part in found] == [(4, 3), (4, 0), (4, 0, 3)]
    torch.testing.assert_close(found.base_logits, mixture.eval()(torch.zeros(4, 3, 16, 16)).base_logits)


# --- the folder ---


@pytest.fixture
def saved(mixture: SingleGateMoE, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "c", assemble(states(mixture)))
    return tmp_path / "c"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, message in (
        (tmp_path, "has no config.json"),
        (tmp_path / "file", "is not a folder"),
        (tmp_path / "gone", "is not a folder"),
    ):
        with pytest.raises(CheckpointError, match=f"{message}; expected a checkpoint"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(schema_version=3), "version 3; this edge-moe reads 1 and 2: update edge-moe"),
        (lambda c: c.update(schema_version=0), "version 0; this edge-moe reads 1 and 2: train or import again"),
        (lambda c: c.pop("schema_version"), "schema version None; .*: train or import again"),
        (lambda c: c.update(colour="red"), "unknown field `colour`"),
        (lambda c: c.pop("labels"), "missing required field `labels`"),
        (lambda c: c.update(experts=-1), r"`int` >= 0"),
        (lambda c: c.update(labels=["cat"]), "1 labels for 3 classes"),
    ],
)
def test_a_config_is_strict(saved: Path, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    config = msgspec.json.decode((saved / "config.json").read_bytes())
    edit(config)
    (saved / "config.json").write_bytes(msgspec.json.encode(config))
    with pytest.raises(CheckpointError, match=message):
        read_config(saved)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_config_that_is_no_json_is_refused(saved: Path, text: bytes) -> None:
    (saved / "config.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(saved)


def test_parts_that_are_missing_damaged_or_swapped_are_named(saved: Path) -> None:
    expert, gate = saved / "expert_01.safetensors", saved / "gate.safetensors"
    whole = expert.read_bytes()
    for data in (None, whole[:-10], gate.read_bytes()):
        expert.unlink() if data is None else expert.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"expert_01\.safetensors"):
            load_checkpoint(saved)
    expert.write_bytes(whole)
    load_checkpoint(saved)


def test_parts_that_fit_but_are_others_are_named(saved: Path) -> None:
    """Weights that were zeroed in place, and two experts that changed places."""
    expert, other, gate = (saved / f"{part}.safetensors" for part in ("expert_01", "expert_00", "gate"))
    digests = read_config(saved).parts
    assert digests == {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in saved.glob("*.safetensors")}
    whole = gate.read_bytes()
    gate.write_bytes(whole[:-8] + bytes(8))
    found = hashlib.sha256(gate.read_bytes()).hexdigest()[:12]
    words = rf"gate\.safetensors was altered since .*: found the sha256 {found}\.\.\., expected {digests['gate'][:12]}"
    with pytest.raises(CheckpointError, match=rf"{words}.*; put back the file .* or train or import again"):
        load_checkpoint(saved)
    gate.write_bytes(whole)
    one, two = expert.read_bytes(), other.read_bytes()
    expert.write_bytes(two)
    other.write_bytes(one)
    with pytest.raises(CheckpointError, match=r"expert_00\.safetensors was altered"):
        load_checkpoint(saved)


def test_a_checkpoint_without_digests_is_loaded_as_it_is(saved: Path) -> None:
    """An older version wrote none."""
    write_config(saved, msgspec.structs.replace(read_config(saved), parts={}))
    gate = saved / "gate.safetensors"
    gate.write_bytes(gate.read_bytes()[:-8] + bytes(8))
    load_checkpoint(saved)
    write_config(saved, msgspec.structs.replace(read_config(saved), parts={"base": "0" * 64}))
    with pytest.raises(CheckpointError, match=r"has digests of base; expected base, gate, expert_00, expert_01: train"):
        load_checkpoint(saved)


def test_an_existing_checkpoint_is_only_replaced_by_force(saved: Path, mixture: SingleGateMoE) -> None:
    before = contents(saved)
    other = new_untrained(small_architecture(), 1, small_preprocessing(), seed=0)
    with pytest.raises(OutputError, match="--force"):
        save_checkpoint(saved, other)
    assert contents(saved) == before
    save_checkpoint(saved, other, force=True)
    assert load_checkpoint(saved).config.experts == 1
    assert [path.name for path in saved.parent.iterdir()] == ["c"]


def test_a_full_disk_leaves_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, calls = contents(saved), []

    def full(_: int) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        save_checkpoint(saved, new_untrained(small_architecture(), 2, small_preprocessing(), seed=0), force=True)
    assert len(calls) == 3
    assert contents(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["c"], "a full disk is not left fuller"
