"""What a set of artifacts has to reach before it is shipped, and what is said when it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from edge_moe.converters import recipes
from edge_moe.converters.in_float import enough
from edge_moe.converters.kernels import KernelNoise
from edge_moe.converters.layers import Ranking
from edge_moe.converters.noise import EIGHT_BITS_DB
from edge_moe.converters.options import ConversionOptions
from edge_moe.converters.report import Missed, PartParity, Routing
from edge_moe.converters.toolchain import Structure
from edge_moe.intervals import wilson
from edge_moe.sets import SetKey

__all__ = ["FLOAT_ERROR", "advice", "missed_bars"]

_NAMED = 3
_MOST_TIMES = 1000.0
FLOAT_ERROR = 1e-4  # largest relative L2 error of an fp32 artifact against torch


def missed_bars(
    key: SetKey, parts: list[PartParity], routed: list[Routing], trained: bool, options: ConversionOptions
) -> list[Missed]:
    """Return where a part is not wholly delegated, or answers otherwise than its reference.

    Answers of random weights have no bar. An expert is judged on the images that prefer it, which may be few: it
    misses the bar only when the whole 95% interval of its agreement lies below it.
    """
    missed = []
    for row in parts:
        name = f"{key}/{row.part}"
        if row.structure is not None and not row.structure.is_whole:
            problem = f"{name} {_split(row.structure)}; expected 1 with no node outside"
            missed.append(Missed(row.part, problem, False, split=True))
        if row.torch_error is not None and not row.torch_error <= FLOAT_ERROR:
            problem = f"{name} differs from torch by {row.torch_error:.1e} (relative L2), expected {FLOAT_ERROR:.0e}"
            missed.append(Missed(row.part, problem, False))
        if not trained or key.is_float or row.part == "gate":  # how the gate routes is judged below
            continue
        share = row.against_fp32.top1
        most_likely = share if row.part == "base" else wilson(round(share * row.images), row.images)[1]
        if most_likely < options.min_agreement:
            problem = f"{name} agrees with fp32 on {share:.2%} of {row.images} images"
            missed.append(_too_few(row.part, problem, share, options.min_agreement))
    for setting in routed if trained else ():
        at = f"{key} as routed at tau {setting.tau:g}"
        if setting.same_answer < options.min_agreement:
            problem = f"{at} agrees with fp32 on {setting.same_answer:.2%} of the images"
            missed.append(_too_few(None, problem, setting.same_answer, options.min_agreement))
        if setting.same_routing < options.min_routing:
            problem = f"{at} exits or wakes the experts of fp32 on {setting.same_routing:.2%} of the images"
            missed.append(_too_few(None, problem, setting.same_routing, options.min_routing))
    return missed


def _too_few(part: str | None, problem: str, share: float, expected: float) -> Missed:
    times = (1 - share) / (1 - expected) if expected < 1 else _MOST_TIMES
    return Missed(part, f"{problem}, expected {expected:.2%}", True, min(times, _MOST_TIMES))


def _split(structure: Structure) -> str:
    """Return into what a part falls, and what is left outside."""
    delegates, outside, left = structure
    common = Counter(left).most_common(_NAMED)
    named = [text if count == 1 else f"{text} ({count} times)" for text, count in common]
    others = outside - sum(count for _, count in common)
    listed = f": {', '.join(named)}{f' and {others} more' if others else ''}" if named else ""
    partitions, nodes = f"partition{'s' * (delegates != 1)}", f"node{'s' * (outside != 1)}"
    return f"runs in {delegates} {partitions} with {outside} {nodes} outside{listed}"


def advice(
    key: SetKey,
    ranked: Mapping[str, Ranking],
    *,
    times: float = 1.0,
    kept_float: Sequence[str] = (),
    tried: Collection[SetKey] = (),
) -> str:
    """Return what to do about a set that does not follow fp32; `ranked`: the parts that are to blame.

    Layers are named only where the artifact is what they make of it, and only those that add noise: as many as bring
    within reach the bar that was missed `times`, after those that are in float already (`kept_float`). Where the
    artifact is something else, the kernels of this processor are to blame. No recipe is advised that was `tried`.
    """
    safer = recipes.book(key.backend).safer(key.recipe)
    if safer is not None and SetKey(key.backend, safer) in tried:  # it missed a bar as well
        safer = None
    words: list[str] = []
    names: list[str] = []
    for part, found in ranked.items():
        loud = [one for one in found.layers[:_NAMED] if one.is_noisy]
        if found.kernels is not None and found.kernels.is_suspect:
            return _suspect(key, part, found.kernels)
        if not loud:
            words.append(f"no layer of {part} adds more noise than 8 bits cost anyway ({EIGHT_BITS_DB:.0f} dB)")
            continue
        worst = ", ".join(f"{one.layer} ({one.own_sqnr_db:.0f} dB)" for one in loud)
        words.append(f"the layers of {part} that add most noise are {worst}")
        if found.in_float:
            count = enough(found.in_float, times)
            most = max(found.in_float)
            if count is None and most:
                words.append(f"keeping {most} of its {len(found.layers)} layers in float is not enough")
            elif count is None:
                words.append("they cannot stay in float by this recipe alone")
            else:
                names += found.tried[:count]
    ways = []
    if names:
        keep = " ".join(f"--keep-float {name}" for name in (*kept_float, *names))
        ways.append(f"keep layers in float with {keep}")
    if safer is not None:
        ways.append(f"try --recipe {key.backend}/{safer}")
    ways += ["take more --calibration-images, lower --min-agreement or --min-routing, or add --keep-going"]
    return "; ".join([*words, ", ".join(ways)])


def _suspect(key: SetKey, part: str, kernels: KernelNoise) -> str:
    another = f"--recipe {key.backend}/{recipes.book(key.backend).safer(key.recipe) or recipes.FLOAT}"
    return (
        f"the layers of {part} are not to blame: without {key.backend}'s kernels its int8 graph follows fp32 at "
        f"{kernels.graph_sqnr_db:.0f} dB, but with them the artifact follows that graph at only "
        f"{kernels.kernel_sqnr_db:.0f} dB; the suspect is a kernel of {key.backend} on this processor: try {another} "
        "or another --backend, check other bundles here with 'edge-moe verify', and report it with parity.json and "
        "the processor's name; --keep-going ships the set all the same"
    )
