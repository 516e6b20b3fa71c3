"""Which module of a network its split leaves out. Looked for only when the two are known to differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_moe.nn.parts import SplitBase

__all__ = ["what_is_missing"]

_TOLERANCE = 1e-4  # of the norm
_MOST_NAMES = 3


@dataclass
class _Call:
    """One run of a module."""

    name: str
    leaf: bool  # has no modules in it
    given: Tensor | None  # its first argument
    gave: Tensor | None = None


def what_is_missing(base: SplitBase, network: nn.Module, images: Tensor) -> str:
    """Return in words what `network` does and `base`, which shares its modules, does not: the first such thing.

    Both run on `images` [B, 3, H, W], and what each named module is given is compared. Between the last that is given
    the same and the first that is not lies what is missing.
    """
    whole, split = _calls(network, network, images), _calls(network, base, images)
    names = [*base.stem_names, *base.tail_names, base.head_name]
    seen: Counter[str] = Counter()
    before, after, place, end = "", "", -1, len(whole)
    for name in names:
        there, here = _find(whole, name, seen[name]), _find(split, name, seen[name])
        seen[name] += 1
        if there < 0:
            times = f" {seen[name]} times" if seen[name] > 1 else ""
            return f"the network does not run {name}{times}; name the modules that it runs"
        if there < place:
            return f"the network runs {name} before {before}; name them in that order"
        if here < 0 or not _equal(whole[there].given, split[here].given):
            after, end = name, there
            break
        before, place = name, there
    pools = after == base.head_name
    left_out = [call for call in whole[place + 1 : end] if call.leaf and not _inside(call.name, before)]
    found = list(dict.fromkeys(_outermost(call.name, names) for call in left_out if not _idle(call, pools)))
    if pools and not found and here >= 0 and (shapes := _other_shapes(whole[there], split[here])):
        return shapes
    return _sentence(found, before, after, pools)


def _sentence(found: Sequence[str], before: str, after: str, pools: bool) -> str:
    """Say that `found` lies between two modules; either may be "": the beginning of the network, or its end."""
    where = f"after {before}" if not after else f"before {after}" if not before else f"between {before} and {after}"
    what = _some(found) or "something that is no module, such as functional.relu"
    instead = ", where SplitBase has global average pooling alone" if pools else ""
    if not found:
        advice = "make a module of it and name that"
    elif pools:
        advice = "name it in tail if it comes before the pooling"
    elif after:
        advice = "name it in stem or tail, in its place"
    else:
        advice = "put it into the module that you name as head"
    return f"{where} the network runs {what}{instead}; {advice}, or derive from edge_moe.nn.Base"


def _other_shapes(there: _Call, here: _Call) -> str:
    """Say that the network's head is given something else than the pooled embedding [B, E]; "" if it is not."""
    if there.given is None or here.given is None or there.given.shape == here.given.shape:
        return ""
    return (
        f"the network gives {there.name} {list(there.given.shape)}, SplitBase gives it the pooled embedding "
        f"{list(here.given.shape)}; wrap {there.name} in a module that takes it if that is all it needs, or "
        "derive from edge_moe.nn.Base"
    )


def _calls(network: nn.Module, run: nn.Module, images: Tensor) -> list[_Call]:
    """Return which modules of `network` run in `run(images)`, in the order in which they are called; until it fails."""
    calls: list[_Call] = []
    unfinished: list[_Call] = []

    def watch(stack: ExitStack, name: str, module: nn.Module) -> None:
        leaf = next(module.children(), None) is None

        def enter(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            calls.append(_Call(name, leaf, _kept(arguments[0] if arguments else None)))
            unfinished.append(calls[-1])

        def leave(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            unfinished.pop().gave = _kept(output)

        stack.callback(module.register_forward_pre_hook(enter).remove)
        stack.callback(module.register_forward_hook(leave).remove)

    with ExitStack() as stack, suppress(Exception):
        for name, module in network.named_modules():
            if name:
                watch(stack, name, module)
        run(images)
    return calls


def _kept(value: Any) -> Tensor | None:
    return value.clone() if isinstance(value, Tensor) else None  # what comes next may write into it


def _find(calls: Sequence[_Call], name: str, skip: int) -> int:
    """Return the index of the call of `name` that comes after `skip` others, or -1."""
    places = [index for index, call in enumerate(calls) if call.name == name]
    return places[skip] if skip < len(places) else -1


def _idle(call: _Call, pools: bool) -> bool:
    """Whether a module gave what it was given: dropout, flatten; or, where pooling is expected, pooled it."""
    if call.given is None or call.gave is None:
        return False
    if _equal(call.gave.flatten(), call.given.flatten()):
        return True
    return (
        pools
        and call.given.ndim == 4
        and _equal(call.gave.flatten(), functional.adaptive_avg_pool2d(call.given, 1).flatten())
    )


def _equal(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None or left.shape != right.shape:
        return False
    return bool((left - right).norm() <= _TOLERANCE * torch.maximum(left.norm(), right.norm()))


def _inside(name: str, module: str) -> bool:
    return bool(module) and (name == module or name.startswith(f"{module}."))


def _outermost(name: str, names: Sequence[str]) -> str:
    """Return the largest module around `name` that none of `names` lies in."""
    steps = name.split(".")
    for count in range(1, len(steps)):
        around = ".".join(steps[:count])
        if not any(_inside(other, around) for other in names):
            return around
    return name


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
