"""The weights of a checkpoint: one safetensors file a part, beside the config that `edge_moe.checkpoint` describes.

Tensors have torchvision's names. An expert holds the base's tensors after the branch point, under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import safetensors.torch
from torch import Tensor, nn

from edge_moe.anytime import Ensemble, Space
from edge_moe.backends.imported import installed
from edge_moe.bundle import Preprocessing, part_names, sha256
from edge_moe.checkpoint import CheckpointConfig, check_part, part_file, read_config, write_config
from edge_moe.errors import UsageError
from edge_moe.nn import Architecture, SingleGateMoE, build_base
from edge_moe.output import write_file
from edge_moe.sizes import short_size_text
from edge_moe.text import nfc
from edge_moe.training.weights import load_state, read_weights
from edge_moe.work import making

__all__ = [
    "Checkpoint",
    "from_state_dicts",
    "load_checkpoint",
    "load_part",
    "load_parts",
    "load_state",
    "new_mixture",
    "part_bytes",
    "read_weights",
    "save_checkpoint",
    "tool_versions",
]

_State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A mixture, or a plain network, and what there is to know about it."""

    config: CheckpointConfig  # without `parts`: here are no files
    mixture: SingleGateMoE


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a whole checkpoint, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: no checkpoint there, another schema version, or a part that is missing, is another than the
            checkpoint was finished with, or does not fit.
    """
    path = Path(path)
    config = read_config(path)
    mixture = load_parts(path, config.architecture, config.experts, config.parts)
    return Checkpoint(msgspec.structs.replace(config, parts={}), mixture)


def save_checkpoint(
    path: str | Path, checkpoint: Checkpoint, *, force: bool = False, command: str = "save_checkpoint"
) -> None:
    """Write `checkpoint` to the folder `path`, whole or not at all; `command` is who does, for whoever comes second.

    Raises:
        OutputError: `path` exists and `force` is not given, or cannot be written.
    """
    path = Path(path)
    with making(path, command, force=force) as work:
        folder = work.fresh()
        digests = {}
        for name, part in _parts(checkpoint.mixture).items():
            data = part_bytes(part)
            write_file(part_file(folder, name), data)
            digests[name] = sha256(data)
        write_config(folder, msgspec.structs.replace(checkpoint.config, parts=digests))
        work.publish()


def new_mixture(architecture: Architecture, experts: int) -> SingleGateMoE:
    """Return a mixture with freshly initialised weights; the experts start as copies of the base's tail.

    Without experts it is a plain network: the base alone.

    Raises:
        UsageError: unknown base, or one without the branch point that experts need.
    """
    base = build_base(architecture)
    gate = base.new_gate(experts, architecture.image_size) if experts else None
    return SingleGateMoE(base, gate, [base.new_expert() for _ in range(experts)])


def part_bytes(part: nn.Module) -> bytes:
    """Return what the file of one part holds."""
    return safetensors.torch.save(
        {key: tensor.detach().cpu().contiguous() for key, tensor in part.state_dict().items()}
    )


def load_part(path: Path, name: str, part: nn.Module, digest: str | None = None) -> None:
    """Load one part of the checkpoint in the folder `path` into `part`.

    `digest`: of its file, as the config of a finished checkpoint has it; None: any, as of a part of an unfinished one,
    whose ledger knows it.

    Raises:
        CheckpointError: the file is missing, damaged, has another digest or does not fit.
    """
    file = part_file(path, name)
    load_state(part, read_weights(file), str(file))  # says more than that the digest is another
    check_part(path, name, digest)


def load_parts(
    path: Path, architecture: Architecture, experts: int, digests: Mapping[str, str] | None = None
) -> SingleGateMoE:
    """Load every part of the checkpoint in the folder `path`, on the CPU, in evaluation mode; its config is not read.

    `digests`: part -> that of its file, as far as they are known; see `load_part`.

    Raises:
        CheckpointError: a file is missing, damaged, has another digest or does not fit.
    """
    mixture = new_mixture(architecture, experts)
    for name, part in _parts(mixture).items():
        load_part(path, name, part, (digests or {}).get(name))
    return mixture.eval()


def from_state_dicts(
    architecture: Architecture,
    base: tuple[str, _State],
    gate: tuple[str, _State] | None = None,
    experts: Sequence[tuple[str, _State]] = (),
    *,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    ensemble: Ensemble = "bagging",
    space: Space = "logit",
) -> Checkpoint:
    """Make a checkpoint of parts that were trained elsewhere; each comes with a name for the error messages.

    `base`: a whole torchvision network. `gate`: the `weight` [K, E] and `bias` [K] of a linear layer.
    `experts`: K state dicts that hold what follows the branch point, under the network's names. From live modules:
    `from_state_dicts(..., ("base", net.state_dict()), ("gate", linear.state_dict()), [("e0", e0.state_dict()), ...])`.
    Without gate and experts it is a plain network.

    Raises:
        CheckpointError: missing, extra or misshapen tensors, by name.
        UsageError: a gate without experts or experts without a gate, labels that are not one a class, or two image
            sizes.
    """
    if gate is not None and not experts:
        raise UsageError("a mixture needs at least one expert; found none: give experts, or leave the gate out")
    if experts and gate is None:
        raise UsageError(
            f"a mixture needs its gate; found {len(experts)} experts and none: give the gate, or leave them out"
        )
    different = len(set(map(nfc, labels)))
    if len(labels) != architecture.classes or different != len(labels):
        raise UsageError(
            f"expected {architecture.classes} different labels, one a class; found {len(labels)}, "
            f"{different} of them different"
        )
    if preprocessing.size != architecture.size:
        raise UsageError(
            f"the architecture takes {short_size_text(architecture.image_size)} pixels, the preprocessing gives "
            f"{short_size_text(preprocessing.image_size)}; expected the same"
        )
    mixture = new_mixture(architecture, len(experts))
    named = [base, *([gate] if gate else []), *experts]
    for part, (source, state) in zip(_parts(mixture).values(), named, strict=True):
        load_state(part, state, source)
    config = CheckpointConfig(
        architecture=architecture,
        experts=len(experts),
        labels=tuple(labels),
        preprocessing=preprocessing,
        ensemble=ensemble,
        space=space,
        origin="imported",
        tools=tool_versions(),
    )
    return Checkpoint(config, mixture.eval())


def tool_versions(*more: str) -> dict[str, str]:
    """Return the versions of edge-moe, torch, torchvision and the packages `more`."""
    return {name: installed(name) or "unknown" for name in ("edge-moe", "torch", "torchvision", *more)}


def _parts(mixture: SingleGateMoE) -> dict[str, nn.Module]:
    parts = [mixture.base, *([mixture.gate] if mixture.gate is not None else []), *mixture.experts]
    return dict(zip(part_names(len(mixture.experts)), parts, strict=True))
