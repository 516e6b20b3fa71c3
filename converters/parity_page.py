"""The parity report as a page that a person can read."""

from __future__ import annotations

from edge_moe.converters.kernels import KernelNoise
from edge_moe.converters.layers import LayerNoise
from edge_moe.converters.noise import db
from edge_moe.converters.report import Accuracies, Ranked, Report, Spread
from edge_moe.intervals import over_groups
from edge_moe.sets import SetKey
from edge_moe.text import in_markdown

__all__ = ["to_markdown"]

_WORST = 8


def to_markdown(report: Report) -> str:
    """Return the page."""
    lines = [f"# Parity of {in_markdown(report.checkpoint)}", ""]
    if not report.trained:
        lines += ["**UNTRAINED: random weights. Agreement and accuracy mean nothing here, and no bar applies.**", ""]
    experts = "; an expert counts on the images whose gate prefers it, through the base of its own set"
    if _is_plain(report):
        experts = ""
    lines += [
        f"Measured on {report.images} images ({in_markdown(report.data)}) with the artifacts of this bundle. "
        "Agreement is the share of images whose largest logit is the same as that of the same backend in "
        f"fp32{experts}.",
        "",
        f"Shipped: {', '.join(report.shipped)}. What else is here was tried and left out.",
        "",
    ]
    for backend, why in report.left_out.items():
        lines += [f"**{backend} was left out of the bundle:** {in_markdown(why)}", ""]
    for name, why in report.unmade.items():
        lines += [] if name in report.left_out else [f"**{name} cannot be made:** {in_markdown(why)}", ""]
    for remark in report.made_anew:
        lines += [in_markdown(remark), ""]
    lines += [*(f"- {text}" for text in report.at_default), ""] if report.at_default else []
    lines += _flips(report)
    lines += _bars(report)
    for backend, one in report.ranked.items():
        lines += _ranked(report, backend, one)
    for name in report.sets:
        lines += _set(report, name)
    if report.accuracy:
        lines += _accuracy(report.accuracy)
    if report.operating_points:
        lines += _operating_points(report.operating_points)
    for name, layers in report.layers.items():
        lines += _layers(name, layers, report.kernels.get(name))
    if report.seconds:
        lines += ["## Seconds that converting took", "", "| what | s |", "|---|---:|"]
        lines += [f"| {what} | {seconds:.1f} |" for what, seconds in sorted(report.seconds.items())]
        lines += [""]
    return "\n".join([*lines, *_made(report)]).rstrip() + "\n"


def _flips(report: Report) -> list[str]:
    """Say how often an NPU answers otherwise than a processor."""
    return [line for one in report.flips for line in (f"{one.words}. Each is at its own default tau.", "")]


def _is_plain(report: Report) -> bool:
    """Return whether it is of a plain network: a base alone."""
    return all(row.part == "base" for rows in report.sets.values() for row in rows)


def _bars(report: Report) -> list[str]:
    """Return what every set had to reach, and whether it did."""
    bars = report.bars
    routing = [
        f"- routing: at least {bars.min_routing:.2%} of the images exit, or wake the same experts, as in fp32: "
        "at tau 0, at the set's default tau, and wherever else it was routed below",
    ]
    of_answers = [
        f"- agreement: {'the base' if _is_plain(report) else 'a part, and the whole as routed,'} answers at least "
        f"{bars.min_agreement:.2%} of the images as fp32 does",
        *([] if _is_plain(report) else routing),
    ]
    lines = ["## Bars", "", *(of_answers if report.trained else [])]
    lines += [
        f"- fp32: no part differs from torch by more than {bars.max_float_error:.0e} (relative L2)",
        "- where the backend has a delegate, a part is one of it, with no node outside",
        "",
        "| set | default tau | bars |",
        "|---|---:|---|",
    ]
    lines += [
        f"| {name} | {report.default_taus[name]:g} | {f'{len(missed)} MISSED' if missed else 'met'} |"
        for name, missed in report.missed_bars.items()
    ]
    return [*lines, ""]


def _ranked(report: Report, backend: str, one: Ranked) -> list[str]:
    """Return why a set is the default of its backend."""
    lines = [f"## The default of {backend}", "", f"Why this one: {in_markdown(one.why)}.", ""]
    if not one.costs:
        return lines
    runs = ", ".join(f"{part} {share:.2f}" for part, share in one.shares.items())
    lines += [
        f"What an image costs {one.where}, with parts run as often as in fp32 at its default tau ({runs}; one expert "
        "stands for all):",
        "",
        f"| set | median {one.unit} | p10 to p90 | bars |",
        "|---|---:|---:|---|",
    ]
    for name, median, spread, missed in report.compared(backend):
        lines += [f"| {name} | {median} | {spread} | {f'{missed} MISSED' if missed else 'met'} |"]
    return [*lines, ""]


def _set(report: Report, name: str) -> list[str]:
    reference = SetKey.parse(name).is_float
    lines = [f"## {name}", ""]
    lines += ["| part | KiB | partitions | nodes outside | images | agreement | cosine | SQNR dB | error to torch |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for row in report.sets[name]:
        same = row.against_fp32
        delegates, outside = row.structure[:2] if row.structure else ("", "")
        error = "" if row.torch_error is None else f"{row.torch_error:.1e}"
        compared = "reference |  | " if reference else f"{same.top1:.2%} | {same.cosine:.4f} | {db(same.sqnr_db)}"
        lines += [
            f"| {row.part} | {row.bytes / 1024:.0f} | {delegates} | {outside} | {row.images} | {compared} | {error} |"
        ]
    lines += [""]
    for setting in report.routed.get(name, []):
        lines += [
            f"- as routed at tau = {setting.tau:g}, max_experts = {setting.max_experts}: "
            f"{setting.same_answer:.2%} same answer, {setting.same_routing:.2%} same routing as fp32"
        ]
    lines += [f"- **missed:** {missed.problem}" for missed in report.missed_bars[name]]
    return [*lines, ""] if lines[-1] else lines


def _accuracy(accuracy: Accuracies) -> list[str]:
    lines = [f"## Accuracy on {accuracy.images} validation images", ""]
    lines += ["| | accuracy | 95% interval |", "|---|---:|---:|"]
    for row in accuracy.rows:
        lines += [f"| {row.what} | {row.accuracy:.2%} | {row.low:.2%} to {row.high:.2%} |"]
    over = "" if accuracy.groups is None else f" {over_groups(accuracy.groups, accuracy.images)}"
    mixture = any(row.what.startswith("mixture ") for row in accuracy.rows)
    notes = "The mixture runs in static mode: tau = 0, one expert." * mixture + over
    lines += ["", *([notes.strip(), ""] if notes else [])]
    if not accuracy.differences:
        return lines
    lines += ["| difference, points | | 95% interval (paired) |", "|---|---:|---:|"]
    for what, (difference, low, high) in accuracy.differences.items():
        lines += [f"| {what} | {100 * difference:+.2f} | {100 * low:+.2f} to {100 * high:+.2f} |"]
    return [*lines, ""]


def _operating_points(rows: list[Spread]) -> list[str]:
    names = list(rows[0].accuracy)
    lines = ["## The default sets of the backends at equal tau", ""]
    lines += [f"| tau | max_experts | {' | '.join(names)} | points apart |", f"|---:|---:|{'---:|' * (len(names) + 1)}"]
    for row in rows:
        shares = " | ".join(f"{row.accuracy[name]:.2%}" for name in names)
        lines += [f"| {row.tau:g} | {row.max_experts} | {shares} | {row.points_apart:.2f} |"]
    return [*lines, ""]


def _layers(name: str, layers: list[LayerNoise], kernels: KernelNoise | None) -> list[str]:
    lines = [f"## Layers of {name}, the noisiest first", ""]
    lines += ["| layer | adds itself, SQNR dB | in, SQNR dB | out, SQNR dB |", "|---|---:|---:|---:|"]
    for one in layers[:_WORST]:
        lines += [f"| {one.layer} | {db(one.own_sqnr_db)} | {db(one.input_sqnr_db)} | {db(one.sqnr_db)} |"]
    more = len(layers) - _WORST
    lines += ["", f"and {more} more, see parity.json"] if more > 0 else []
    if kernels is not None:
        suspect = ": **a kernel is the suspect, not the layers**" if kernels.is_suspect else ""
        lines += [
            "",
            "Of the logits, the graph without the backend's kernels has an SQNR of "
            f"{db(kernels.graph_sqnr_db, ' dB')}; what the kernels of this processor make of it is "
            f"{db(kernels.kernel_sqnr_db, ' dB')} off that{suspect}.",
        ]
    return [*lines, ""]


def _made(report: Report) -> list[str]:
    tools = ", ".join(f"{name} {version}" for name, version in report.tools.items())
    return [
        f"Calibrated on {report.calibration_images} images. Made and measured on {report.machine.processor}, "
        f"{report.machine.system}, with {tools}."
    ]
