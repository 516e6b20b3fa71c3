"""Is a base what its network is, and are its experts copies? Found out before anything is trained or loaded.

A `SplitBase` runs the modules that it was told of and nothing else; what a network does besides (a `functional.relu`
between two of them, a module that was forgotten) is lost without a word, and weights load all the same. So the base,
the network that it was split from, a gate and fresh experts run once on random images, in evaluation mode, and what
differs is refused by name.

For that time BatchNorm's statistics are those of the images, so that activations do not fade, and a parameter that is
all one value (the 0 of a bias or of a residual branch's last scale, the 1 of a scale) is moved a little: at such a
value a part that is missing may not show. Afterwards the base is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edge_moe.checkpoint import Architecture
from edge_moe.errors import UsageError
from edge_moe.nn.missing import what_is_missing
from edge_moe.nn.parts import Base, BaseOutputs, SplitBase, Whole

__all__ = ["check_base"]

_IMAGES = 2
_EXPERTS = 2
_TOLERANCE = 1e-3  # of what tells the images apart; equal networks have given the same bits
_ROUNDING = 1e-5  # of the logits, where nothing tells the images apart
_MOVE = 0.1
_LEAST_VARIANCE = 0.1  # of the mean over the channels

_checked: set[tuple[object, Architecture]] = set()


def check_base(base: Base, architecture: Architecture, builder: object = None) -> None:
    """Compare `base`, just built, with its network and with its experts; once a process for what `builder` builds.

    A base on the meta device has no values and is not compared. `base` is not changed, nor are torch's random numbers.

    Raises:
        UsageError: the base gives other logits than its network, or other shapes than a base does, or not the same
            twice; an expert gives other logits than the base, or shares memory with it or with another expert.
    """
    network = base.whole.network if isinstance(base, SplitBase) else None
    if isinstance(base, SplitBase):
        base.whole = Whole()  # what the base does not run need not be kept
    if network is not None and getattr(network.forward, "__func__", None) is nn.Module.forward:
        network = None  # a mere container of modules
    if (builder, architecture) in _checked or any(tensor.is_meta for tensor in base.state_dict().values()):
        return
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        _check(base, network, architecture)
    _checked.add((builder, architecture))


def _check(base: Base, network: nn.Module | None, architecture: Architecture) -> None:
    name, images = architecture.base, _images(architecture)
    run = base if network is None else network
    with _enlivened(run, base):
        with _naming(f"{name}: the network fails on images {list(images.shape)}"):
            _settle(run, images)
            expected: Any = run(images)
        if network is not None:
            assert isinstance(base, SplitBase)
            _check_split(base, network, images, _logits(expected, name), name)
        outputs = base(images)
        _check_outputs(outputs, architecture)
        if network is None and not _same(outputs.logits, expected.logits):
            raise UsageError(
                f"{name}: the base gives other logits for the same images when it runs again; expected answers that "
                "depend on the image alone, in evaluation mode"
            )
        if outputs.branches:
            _check_gate(base, outputs.embedding, architecture)
            _check_experts(base, outputs, name)


def _check_split(base: SplitBase, network: nn.Module, images: Tensor, expected: Tensor, name: str) -> None:
    if not torch.isfinite(expected).all():
        raise UsageError(f"{name}: the network's logits of random images are not finite; expected numbers")
    failure = ""
    try:
        logits = base(images).logits
    except Exception as error:  # nearly always two shapes that do not fit
        logits, failure = torch.full_like(expected, torch.nan), f"SplitBase fails ({_line(error)})"
    if _same(logits, expected):
        return
    if not failure:
        off = ((logits - expected).norm() / expected.norm()).item() if logits.shape == expected.shape else torch.nan
        failure = f"SplitBase gives other logits than the network (off by {off:.{0 if off > 0.1 else 2}%})"
    raise UsageError(f"{name}: {failure}: {what_is_missing(base, network, images)}")


def _check_outputs(outputs: Any, architecture: Architecture) -> None:
    name, classes = architecture.base, architecture.classes
    if not isinstance(outputs, BaseOutputs) or not all(isinstance(tensor, Tensor) for tensor in outputs):
        raise UsageError(
            f"{name}: the base gives {type(outputs).__name__}; expected edge_moe.nn.BaseOutputs of tensors"
        )
    given = [("logits", outputs.logits, f"[B, {classes}], one a class", outputs.logits.shape == (_IMAGES, classes))]
    if outputs.branches:
        some = "[B, C, H, W], [B, T, C] or [B, C]"
        given.append(("features", outputs.features, some, outputs.features.ndim in (2, 3, 4)))
        given.append(("embedding", outputs.embedding, "[B, E]", outputs.embedding.ndim == 2))
    for field, tensor, shape, fits in given:
        if not fits or len(tensor) != _IMAGES:
            raise UsageError(f"{name}: {field} of {_IMAGES} images are {list(tensor.shape)}; expected {shape}")
        if not torch.isfinite(tensor).all():
            raise UsageError(f"{name}: {field} of random images are not finite; expected numbers")


def _check_gate(base: Base, embedding: Tensor, architecture: Architecture) -> None:
    if type(base).new_gate is Base.new_gate:
        return  # it is as wide as the embedding, whatever that is
    name = architecture.base
    with _naming(f"{name}: new_gate fails on the embedding {list(embedding.shape)}"):
        shape = base.new_gate(_EXPERTS, architecture.image_size)(embedding).shape
    if shape != (_IMAGES, _EXPERTS):
        raise UsageError(f"{name}: a gate of {_EXPERTS} experts gives {list(shape)}; expected [B, {_EXPERTS}]")


def _check_experts(base: Base, outputs: BaseOutputs, name: str) -> None:
    experts = [base.new_expert() for _ in range(_EXPERTS)]
    for expert in experts:
        if not isinstance(expert, nn.Module):
            raise UsageError(f"{name}: new_expert gives a {type(expert).__name__}; expected a torch module")
    others = {"the base": base, "another expert": experts[1]}
    for other, module in others.items():
        if shared := _shared(experts[0], module):
            raise UsageError(
                f"{name}: the expert that new_expert gives shares {shared} with {other}, so that training one would "
                "change both; expected a copy of its own: copy.deepcopy"
            )
    with _naming(f"{name}: a fresh expert fails on features {list(outputs.features.shape)}"):
        logits = experts[0].eval()(outputs.features)
    if not isinstance(logits, Tensor) or not _same(logits, outputs.logits):
        raise UsageError(
            f"{name}: a fresh expert gives other logits than its base; expected the same: new_expert copies what "
            "follows the branch point, weights and all"
        )


def _images(architecture: Architecture) -> Tensor:
    """Random images [B, 3, H, W], each with a colour of its own: noise alone looks the same to a network that pools."""
    draw = np.random.default_rng(0)
    images = draw.standard_normal((_IMAGES, 3, *architecture.size)) + draw.standard_normal((_IMAGES, 3, 1, 1))
    return torch.from_numpy(images.astype(np.float32))


@contextmanager
def _enlivened(*modules: nn.Module) -> Iterator[None]:
    """Evaluate for the length of the block, with no parameter at a value at which a module does nothing."""
    # In place, not on copies: a network whose forward is a closure would go on running the modules that it was made of.
    parts = {part for module in modules for part in module.modules()}
    modes = [(part, part.training) for part in parts]
    tensors = {tensor: tensor.clone() for module in modules for tensor in _tensors(module).values()}
    generator = torch.Generator().manual_seed(0)
    try:
        for part in parts:
            part.training = False
        for tensor in tensors:
            constant = tensor.is_floating_point() and tensor.numel() and tensor.min() == tensor.max()
            if constant and isinstance(tensor, nn.Parameter):
                noise = torch.randn(tensor.shape, generator=generator).clamp(-2, 2).to(tensor)
                tensor.add_(_MOVE * noise * (tensor if tensor.any() else 1))
        yield
    finally:
        for tensor, value in tensors.items():
            tensor.copy_(value)
        for part, training in modes:
            part.training = training


def _settle(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of each BatchNorm of `network` to those of what it is given when the network runs."""

    def settle(norm: _BatchNorm, arguments: tuple[Tensor, ...]) -> None:
        channels = arguments[0].transpose(0, 1).flatten(1)
        variance = channels.var(dim=1, correction=0)
        # A channel that hardly moves in two images would be blown up, and more in each layer.
        least = _LEAST_VARIANCE * variance.mean()
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(channels.mean(dim=1))
        norm.running_var.copy_(variance.clamp(min=least if least > 0 else 1.0))

    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()


def _logits(output: Any, name: str) -> Tensor:
    """Return the logits among what a network gives."""
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise UsageError(
            f"{name}: the network gives a {type(output).__name__}, which SplitBase's logits cannot be compared with; "
            "expected a tensor of logits"
        )
    return logits


def _same(logits: Tensor, expected: Tensor) -> bool:
    """Whether [B, Y] logits are those expected, up to rounding."""
    if logits.shape != expected.shape:
        return False
    allowed = _TOLERANCE * (expected - expected.mean(dim=0)).norm() + _ROUNDING * expected.norm()
    return bool((logits - expected).norm() <= allowed)


def _shared(expert: nn.Module, other: nn.Module) -> str:
    """Return the name of a tensor of `expert` that lies in the memory of one of `other`, or "": there is none."""
    taken = {tensor.untyped_storage().data_ptr() for tensor in _tensors(other).values() if tensor.numel()}
    for name, tensor in _tensors(expert).items():
        if tensor.numel() and tensor.untyped_storage().data_ptr() in taken:
            return name
    return ""


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say `what` failed where the code of a network fails."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
