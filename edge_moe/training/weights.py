"""Files of weights that others wrote: opened without running code, unwrapped, and loaded only where they fit.

What a wrapper put in front of every name is dropped, and a dict around the one state dict in it is opened. Where there
are two, such as the weights and their running average, none is chosen: which one was meant is not for us to say.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from edge_moe.errors import CheckpointError
from edge_moe.files import no_file

__all__ = ["fit_names", "load_state", "read_weights"]

_State = Mapping[str, Tensor]
_EXPECTED = "expected a state dict in a .safetensors, .pth or .pt file"
# What DataParallel, AveragedModel and torch.compile put in front of every name.
_WRAPPERS = ("module.", "_orig_mod.")
_AVERAGED = "n_averaged"  # AveragedModel counts with it
_COUNTER = "num_batches_tracked"  # BatchNorm counts with it
_PROFILERS = ("total_ops", "total_params")  # thop counts with these
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_MOST_COPIES = 4  # of a network in one file; the two names of a linear layer are in every layer of another network
_MOST_READ = 4 << 30  # bytes of a file in the format of torch before 1.6, which cannot be mapped
_MOST_HEADER = 16 << 20  # bytes of what says where the tensors are


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors file, or from a .pth or .pt file that holds nothing but tensors.

    A dict with one state dict in it, under whatever key, is opened, and "module." and "_orig_mod." are dropped where
    all names begin with them.

    Raises:
        CheckpointError: missing or damaged, no state dict, or several.
    """
    stored = _read(file)
    while not _is_state(stored):
        inner = {key: value for key, value in stored.items() if _holds_state(key, value)} if _is_dict(stored) else {}
        if len(inner) > 1:
            names = ", ".join(map(repr, inner))
            raise CheckpointError(
                f"{file} holds {len(inner)} state dicts ({names}) and does not say which is meant; expected one: save "
                f"that alone, as in torch.save(torch.load(file)[{next(iter(inner))!r}], 'weights.pth')"
            )
        if not inner:
            found = f"a dict with {_held(stored)}" if _is_dict(stored) and stored else f"a {type(stored).__name__}"
            raise CheckpointError(f"{file} holds no state dict but {found}; {_EXPECTED}")
        (stored,) = inner.values()
    return _unwrapped(stored)


def fit_names(state: _State, own: Iterable[str], source: str = "the state dict") -> dict[str, Tensor]:
    """Return `state` under the names `own`, where all of these are in it behind one and the same part.

    Training frameworks keep the network as an attribute, so that each name begins with "model.module." or the like, and
    keep more beside it, such as a loss; so may a base of one's own. What thop counts with is dropped, and what pruning
    took apart, a weight and its mask, is multiplied. Where not all fit, `state` is returned as it is.

    Raises:
        CheckpointError: they fit behind several parts, as those of a network and of its running average; `source`
            names the state in the error.
    """
    own, (found, masks) = set(own), _pruned(state)
    wanted = _without_counters(own)
    inside = {name.partition(".")[0] for name in own}
    if len(inside) == 1 and own.isdisjoint(found):
        (part,) = inside
        if _without_counters(f"{part}.{name}" for name in found) == wanted:
            return {f"{part}.{name}": _masked(tensor, masks.get(name)) for name, tensor in found.items()}
    anchor = min(wanted, default="")
    prefixes = {name.removesuffix(anchor) for name in found if name == anchor or name.endswith(f".{anchor}")}
    fitting = sorted(prefix for prefix in prefixes if all(prefix + name in found for name in wanted))
    if 1 < len(fitting) <= _MOST_COPIES:
        raise CheckpointError(
            f"{source} holds the network {len(fitting)} times, behind {', '.join(map(repr, fitting))}, and does not "
            "say which is meant; expected one: save the tensors of one alone"
        )
    if len(fitting) != 1 or not wanted:
        return dict(state)
    (prefix,) = fitting
    return {
        name.removeprefix(prefix): _masked(tensor, masks.get(name))
        for name, tensor in found.items()
        if name.startswith(prefix) and (name.removeprefix(prefix) in own or name.rpartition(".")[2] not in _PROFILERS)
    }


def _pruned(state: _State) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return `state` with what torch.nn.utils.prune took apart under one name, and the masks of these names."""
    found, masks = dict(state), {}
    for name in [name for name in state if name.endswith("_orig")]:
        plain = name.removesuffix("_orig")
        mask = found.get(f"{plain}_mask")
        if mask is not None and plain not in found and mask.shape == found[name].shape:
            found[plain], masks[plain] = found.pop(name), found.pop(f"{plain}_mask")
    return found, masks


def _masked(tensor: Tensor, mask: Tensor | None) -> Tensor:
    return tensor if mask is None else tensor * mask


def load_state(part: nn.Module, state: _State, source: str) -> None:
    """Load `state` into `part` after comparing names, shapes and types; `source` names it in the error.

    `num_batches_tracked`, which BatchNorm only counts with, may be missing. float16, bfloat16 and float64 become the
    part's own type; whole numbers, complex ones and floats of 8 bits are never taken for weights.

    Raises:
        CheckpointError: missing, extra or misshapen tensors, or such of another type, by name.
    """
    own = part.state_dict()
    state = fit_names(state, own, source)
    wanted = [name for name in own if not _counts(name)]
    if state and wanted and state.keys().isdisjoint(wanted):
        raise CheckpointError(
            f"{source} does not fit: none of its names is one of the network's; it has {_some(list(state))}, expected "
            f"{_some(wanted)}: is it of another architecture, or another part?"
        )
    problems = []
    if missing := [key for key in own if key not in state and not _counts(key)]:
        problems.append(f"lacks {_some(missing)}")
    if extra := [key for key in state if key not in own]:
        problems.append(f"has {_some(extra)} that do not belong there")
    shaped = [(key, tuple(state[key].shape), tuple(own[key].shape)) for key in own if key in state]
    if wrong := [f"{key} {have} instead of {want}" for key, have, want in shaped if have != want]:
        problems.append(f"has {_some(wrong)}")
    if problems:
        whole = f"; expected {wanted[0]} to {wanted[-1]} alone" if extra and not missing else ""
        raise CheckpointError(f"{source} does not fit: it {', and it '.join(problems)}{whole}")
    taken = dict(own)
    for key, tensor in own.items():
        if key in state:
            taken[key] = _as(tensor, state[key], key, source)
    part.load_state_dict(taken)


def _as(own: Tensor, value: Tensor, key: str, source: str) -> Tensor:
    """Return `value` in the type of `own`, if it means the same there."""
    if value.layout != torch.strided or value.is_meta:
        kind = "without values" if value.is_meta else "sparse"
        raise CheckpointError(f"{source} does not fit: {key} is {kind}; expected a plain tensor of {_type(own)}")
    if own.is_floating_point():
        if value.dtype not in _FLOATS:
            advice = "" if value.is_complex() else ": save the weights before they are quantized"
            raise CheckpointError(
                f"{source} does not fit: {key} is {_type(value)}; "
                f"expected float32, float64, float16 or bfloat16{advice}"
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{source} does not fit: it has NaN or infinite values in {key}")
        cast = value.to(own.dtype)
        if not torch.isfinite(cast).all():
            raise CheckpointError(
                f"{source} does not fit: {key} is {_type(value)} with values beyond the largest {_type(own)}"
            )
        return cast
    if _counts(key) and value.is_floating_point():
        return own  # a state dict that was made half or double as a whole; the count decides nothing
    whole = not (value.is_floating_point() or value.is_complex())
    if not whole or (value.dtype == torch.bool) != (own.dtype == torch.bool):
        raise CheckpointError(f"{source} does not fit: {key} is {_type(value)}; expected {_type(own)}")
    return value.to(own.dtype)


def _read(file: Path) -> Any:
    """Return what is in `file`. Tensors are mapped: who looks at their shapes alone reads nothing of them."""
    if found := no_file(file):
        raise CheckpointError(f"{file} {found}; {_EXPECTED}")
    try:
        with file.open("rb") as stream:
            start = stream.read(9)
        framed = start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _MOST_HEADER
        if framed or file.suffix == ".safetensors":  # the other formats by their contents alone: torch decides by names
            return safetensors.torch.load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on old formats; what is refused raises
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_can_be_mapped(file))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}; {_EXPECTED}") from None
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{file} is damaged: {error}; {_EXPECTED}") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file} is damaged, or holds Python objects besides tensors, which are not loaded because they can run "
            f"code; {_EXPECTED}: save model.state_dict() alone"
        ) from None
    except CheckpointError:
        raise
    except Exception:  # what torch.load raises on other bytes is nearly anything, and tells a user nothing
        raise CheckpointError(f"{file} is damaged, or was not written by torch.save; {_EXPECTED}") from None


def _can_be_mapped(file: Path) -> bool:
    """Return whether `file` is one of torch.save since 1.6, a zip in which everything lies as it is.

    Raises:
        CheckpointError: a zip in which something is packed, so that a small file can fill the memory, or that claims to
            hold more than it has bytes; or another file that is too large to be read.
    """
    size = file.stat().st_size
    if not zipfile.is_zipfile(file):
        with file.open("rb") as stream:
            if stream.read(4) == b"PK\x03\x04":  # torch would find entries that this does not see
                raise CheckpointError(f"{file} is damaged: a zip without its end; {_EXPECTED}")
        if size > _MOST_READ:
            raise CheckpointError(f"{file} has {size:,} bytes; expected at most {_MOST_READ:,} in its format")
        return False
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if any(one.compress_type != zipfile.ZIP_STORED for one in entries) or sum(one.file_size for one in entries) > size:
        raise CheckpointError(
            f"{file} is a packed zip, as torch.save writes none; {_EXPECTED}: save it again, with torch.save alone"
        )
    return True


def _is_dict(stored: Any) -> bool:
    return isinstance(stored, Mapping) and all(isinstance(key, str) for key in stored)


def _is_state(stored: Any) -> bool:
    return _is_dict(stored) and len(stored) > 0 and all(isinstance(value, Tensor) for value in stored.values())


def _holds_state(key: str, value: Any) -> bool:
    """Whether there are weights in the entry `key`: tensors of an optimizer or of a random generator are none."""
    if any(word in key for word in ("optim", "rng", "random")) or not _is_dict(value):
        return False
    return _is_state(value) or any(_holds_state(inner, item) for inner, item in value.items())


def _unwrapped(state: _State) -> dict[str, Tensor]:
    found = dict(state)
    while True:
        names = [name for name in found if name != _AVERAGED]
        wrapper = next((prefix for prefix in _WRAPPERS if all(name.startswith(prefix) for name in names)), None)
        if wrapper is None or not names:
            return found
        found = {name.removeprefix(wrapper): found[name] for name in names}


def _counts(key: str) -> bool:
    return key.rpartition(".")[2] == _COUNTER


def _without_counters(names: Iterable[str]) -> set[str]:
    return {name for name in names if not _counts(name)}


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _held(stored: Mapping[str, Any]) -> str:
    """Return what is in a dict that is no state dict, by name and type, the first of it that is no tensor."""
    others = [name for name, value in stored.items() if not isinstance(value, Tensor)]
    return _some([f"{name} ({type(stored[name]).__name__})" for name in others or stored], "entries")


def _some(names: Sequence[str], what: str = "tensors", most: int = 3) -> str:
    more = f" and {len(names) - most} more {what}" if len(names) > most else ""
    return ", ".join(names[:most]) + more
