"""The parity report as a page that a person can read."""

from __future__ import annotations

from typing import Any

from edge_moe.converters.kernels import KernelNoise
from edge_moe.intervals import over_groups

__all__ = ["to_markdown"]

_WORST = 8


def to_markdown(report: dict[str, Any]) -> str:
    """Return the page; `report` as written to parity.json."""
    lines = [f"# Parity of {report['checkpoint']}", ""]
    if not report["trained"]:
        lines += ["**UNTRAINED: random weights. Agreement and accuracy mean nothing here, and no bar applies.**", ""]
    plain = all(row["part"] == "base" for rows in report["sets"].values() for row in rows)
    experts = "; an expert counts on the images whose gate prefers it, through the base of its own set"
    experts = "" if plain else experts
    lines += [
        f"Measured on {report['images']} images ({report['data']}) with the artifacts of this bundle. Agreement is "
        f"the share of images whose largest logit is the same as that of the same backend in fp32{experts}.",
        "",
        f"Shipped: {', '.join(report['shipped'])}. What else is here was tried and left out.",
        "",
    ]
    for backend, why in report.get("left_out", {}).items():
        lines += [f"**{backend} was left out of the bundle:** {why}", ""]
    for remark in report.get("made_anew", ()):
        lines += [remark, ""]
    for name in report["sets"]:
        lines += _set(report, name)
    if report["accuracy"]:
        lines += _accuracy(report["accuracy"])
    if report["operating_points"]:
        lines += _operating_points(report["operating_points"])
    for name, layers in report["layers"].items():
        lines += _layers(name, layers, report.get("kernels", {}).get(name))
    if report["seconds"]:
        lines += ["## Seconds that converting took", "", "| what | s |", "|---|---:|"]
        lines += [f"| {what} | {seconds:.1f} |" for what, seconds in sorted(report["seconds"].items())]
    return "\n".join(lines).rstrip() + "\n"


def _set(report: dict[str, Any], name: str) -> list[str]:
    reference = name.endswith("/fp32")
    lines = [f"## {name}", ""]
    lines += ["| part | KiB | partitions | nodes outside | images | agreement | cosine | SQNR dB | error to torch |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for row in report["sets"][name]:
        same = row["against_fp32"]
        delegates, outside = row["structure"] or ("", "")
        error = "" if row["torch_error"] is None else f"{row['torch_error']:.1e}"
        compared = (
            "reference |  | " if reference else f"{same['top1']:.2%} | {same['cosine']:.4f} | {same['sqnr_db']:.1f}"
        )
        lines += [
            f"| {row['part']} | {row['bytes'] / 1024:.0f} | {delegates} | {outside} | {row['images']} "
            f"| {compared} | {error} |"
        ]
    lines += [""]
    for setting in report["routed"].get(name, []):
        lines += [
            f"- as routed at tau = {setting['tau']:g}, max_experts = {setting['max_experts']}: "
            f"{setting['same_answer']:.2%} same answer, {setting['same_routing']:.2%} same routing as fp32"
        ]
    lines += [f"- **missed:** {missed['problem']}" for missed in report["missed_bars"][name]]
    return [*lines, ""] if lines[-1] else lines


def _accuracy(accuracy: dict[str, Any]) -> list[str]:
    lines = [f"## Accuracy on {accuracy['images']} validation images", ""]
    lines += ["| | accuracy | 95% interval |", "|---|---:|---:|"]
    for row in accuracy["rows"]:
        lines += [f"| {row['what']} | {row['accuracy']:.2%} | {row['low']:.2%} to {row['high']:.2%} |"]
    over = f" {over_groups(accuracy['groups'], accuracy['images'])}" if "groups" in accuracy else ""
    mixture = any(row["what"].startswith("mixture ") for row in accuracy["rows"])
    notes = "The mixture runs in static mode: tau = 0, one expert." * mixture + over
    lines += ["", *([notes.strip(), ""] if notes else [])]
    if not accuracy["differences"]:
        return lines
    lines += ["| difference, points | | 95% interval (paired) |", "|---|---:|---:|"]
    for what, (difference, low, high) in accuracy["differences"].items():
        lines += [f"| {what} | {100 * difference:+.2f} | {100 * low:+.2f} to {100 * high:+.2f} |"]
    return [*lines, ""]


def _operating_points(rows: list[dict[str, Any]]) -> list[str]:
    names = list(rows[0]["accuracy"])
    lines = ["## The default sets of the backends at equal tau", ""]
    lines += [f"| tau | max_experts | {' | '.join(names)} | points apart |", f"|---:|---:|{'---:|' * (len(names) + 1)}"]
    for row in rows:
        shares = " | ".join(f"{row['accuracy'][name]:.2%}" for name in names)
        lines += [f"| {row['tau']:g} | {row['max_experts']} | {shares} | {row['points_apart']:.2f} |"]
    return [*lines, ""]


def _layers(name: str, layers: list[dict[str, Any]], kernels: dict[str, Any] | None) -> list[str]:
    lines = [f"## Layers of {name}, the noisiest first", ""]
    lines += ["| layer | adds itself, SQNR dB | in, SQNR dB | out, SQNR dB |", "|---|---:|---:|---:|"]
    for one in layers[:_WORST]:
        lines += [f"| {one['layer']} | {one['own_sqnr_db']:.1f} | {one['input_sqnr_db']:.1f} | {one['sqnr_db']:.1f} |"]
    more = len(layers) - _WORST
    lines += ["", f"and {more} more, see parity.json"] if more > 0 else []
    if kernels is not None:
        suspect = ": **a kernel is the suspect, not the layers**" if KernelNoise(**kernels).is_suspect else ""
        lines += [
            "",
            f"Of the logits, the graph without the backend's kernels has an SQNR of {kernels['graph_sqnr_db']:.1f} dB; "
            f"what the kernels of this processor make of it is {kernels['kernel_sqnr_db']:.1f} dB off that{suspect}.",
        ]
    return [*lines, ""]
