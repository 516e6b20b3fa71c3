"""A table and pictures of results, for people."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_moe.benchmarks.results import PointTiming, Results, SetResults, summary
from edge_moe.output import check_target, fresh_partial, publish, write_file, writing

__all__ = ["HEADER", "point_row", "to_markdown", "write_report"]

HEADER = (
    "tau",
    "exit rate",
    "mean MACs (M)",
    "accuracy",
    "median ms",
    "p10 ms",
    "p90 ms",
    "mean ms",
    "mean / sum of parts",
)
# Okabe and Ito: distinct for colour-blind readers. Used again where there are more sets, with another line.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_LINES = ("-", "--", "-.")
_FEW = 2  # sets, of which a picture tells everything


def point_row(timing: PointTiming) -> tuple[str, ...]:
    """Return the cells of one operating point, in the order of HEADER."""
    point, s = timing.point, summary(timing.raw_ms)
    return (
        f"{point.tau:.3g}",
        f"{point.exit_rate:.1%}",
        f"{point.mean_macs / 1e6:.3f}",
        "" if point.accuracy is None else f"{point.accuracy:.2%}",
        f"{s.median_ms:.3f}",
        f"{s.p10_ms:.3f}",
        f"{s.p90_ms:.3f}",
        f"{timing.mean_ms:.3f}",
        f"{timing.mean_ms / timing.sum_of_parts_ms:.3f}",
    )


def to_markdown(results: Results) -> str:
    """Return the results as a page that a person can read."""
    m = results.machine
    lines = [
        f"# {results.bundle} on {m.processor}",
        "",
        *(
            []
            if results.trained
            else ["**UNTRAINED: random weights. The latency is real, the answers are noise.**", ""]
        ),
        f"{results.architecture}, {results.experts} experts. Accuracy and MACs on {results.images} images of "
        f"{results.data}; latency on {results.timed_images} of them, {results.rounds} interleaved rounds, "
        f"{results.threads} thread(s), from the input tensor to the answer. {m.system}, Python {m.python}, "
        + ", ".join(f"{name} {version}" for name, version in results.versions.items())
        + f". Load before and after: {_number(m.load_before)}, {_number(m.load_after)}. {results.created}.",
        "",
        "tau = 0 always runs an expert, tau = 1 never does. The last column compares the mean with what the parts "
        "cost by themselves: base + P(gate) gate + sum of P(expert k) expert k.",
        "",
    ]
    for one in results.sets:
        lines += [f"## {one.backend}, recipe {one.recipe}", "", "| " + " | ".join(HEADER) + " |"]
        lines += ["|" + "---:|" * len(HEADER)]
        lines += ["| " + " | ".join(point_row(timing)) + " |" for timing in one.points]
        lines += ["", "| part | median ms | p10 ms | p90 ms |", "|---|---:|---:|---:|"]
        for part in one.parts:
            s = summary(part.raw_ms)
            lines += [f"| {part.part} | {s.median_ms:.3f} | {s.p10_ms:.3f} | {s.p90_ms:.3f} |"]
        lines += [""]
    return "\n".join(lines)


def write_report(results: Results, out: Path, *, force: bool = False) -> list[Path]:
    """Write results.json, results.md and the pictures into the folder `out`; return their paths.

    Raises:
        OutputError: `out` exists and `force` is not given, or cannot be written.
    """
    check_target(out, force=force)
    partial = fresh_partial(out)
    try:
        write_file(partial / "results.json", msgspec.json.encode(results) + b"\n")
        write_file(partial / "results.md", to_markdown(results).encode())
        names = ["results.json", "results.md", "latency.png"]
        with writing(partial):
            _latency(results, partial / "latency.png")
            if any(timing.point.accuracy is not None for one in results.sets for timing in one.points):
                _accuracy(results, partial / "accuracy.png")
                names.append("accuracy.png")
        publish(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there only if something failed; the disk may be full
    return [out / name for name in names]


def _latency(results: Results, file: Path) -> None:
    figure, axes = _figure(results)
    for (colour, line), one in zip(_styles(results), results.sets, strict=True):
        taus = [timing.point.tau for timing in one.points]
        summaries = [summary(timing.raw_ms) for timing in one.points]
        axes.fill_between(
            taus,
            [s.p10_ms for s in summaries],
            [s.p90_ms for s in summaries],
            color=colour,
            linewidth=0,
            alpha=0.15 if len(results.sets) <= _FEW else 0.06,
        )
        means = [timing.mean_ms for timing in one.points]
        axes.plot(taus, means, f"o{line}", color=colour, label=f"{_name(one)}, mean")
        if len(results.sets) <= _FEW:
            axes.plot(taus, [s.median_ms for s in summaries], ":", color=colour, label=f"{_name(one)}, median")
    axes.set_xlabel("tau (larger: more images exit early)")
    axes.set_ylabel("latency of one image, ms")
    axes.set_ylim(bottom=0)
    _legend(figure, axes, results)
    _save(figure, file, f"Latency against tau; bands from p10 to p90\n{_caption(results)}")


def _accuracy(results: Results, file: Path) -> None:
    figure, axes = _figure(results)
    for (colour, line), one in zip(_styles(results), results.sets, strict=True):
        points = [timing.point for timing in one.points if timing.point.accuracy is not None]
        macs = np.array([point.mean_macs / 1e6 for point in points])
        accuracy = np.array([100 * (point.accuracy or 0) for point in points])
        axes.plot(macs, accuracy, f"o{line}", color=colour, markersize=4, label=_name(one))
        # The ends are what one would do without early exit.
        for index, marker, what in ((-1, "s", "base only"), (0, "D", "always an expert")):
            point = points[index]
            # The bounds include the point, but not always in the last digit of floating point.
            below, above = point.accuracy - point.accuracy_low, point.accuracy_high - point.accuracy  # type: ignore[operator]
            error = [[100 * max(0.0, below)], [100 * max(0.0, above)]]
            axes.errorbar(
                macs[index], accuracy[index], yerr=error, fmt=marker, color=colour, markersize=9, capsize=4, alpha=0.8,
                label=f"{_name(one)}, {what}" if len(results.sets) <= _FEW or one is results.sets[0] else None,
            )  # fmt: skip
    first = [timing.point for timing in results.sets[0].points if timing.point.accuracy is not None]
    previous = None
    for point in first:
        # Labels that would lie on each other are left out.
        if previous is None or abs(point.mean_macs - previous) > 0.05 * (first[0].mean_macs - first[-1].mean_macs):
            axes.annotate(
                f"{point.tau:g}", (point.mean_macs / 1e6, 100 * (point.accuracy or 0)), xytext=(0, 7),
                textcoords="offset points", ha="center", fontsize=8, color=_COLOURS[0],
            )  # fmt: skip
            previous = point.mean_macs
    axes.set_xlabel("mean multiply-accumulates of one image, millions")
    axes.set_ylabel("accuracy, %")
    _legend(figure, axes, results)
    _save(figure, file, f"Accuracy against cost, tau beside the points; bars: 95% intervals\n{_caption(results)}")


def _figure(results: Results) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if not results.trained:
        axes.text(0.5, 0.5, "UNTRAINED", transform=axes.transAxes, fontsize=40, color="grey", alpha=0.3, ha="center")
    return figure, axes


def _styles(results: Results) -> list[tuple[str, str]]:
    """Return a colour and a kind of line for each set."""
    several = len(_COLOURS)
    return [(_COLOURS[i % several], _LINES[i // several % len(_LINES)]) for i in range(len(results.sets))]


def _legend(figure: Any, axes: Any, results: Results) -> None:
    if len(results.sets) <= _FEW:
        axes.legend(frameon=False, fontsize=8)
    else:  # beside the picture, where it hides nothing
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)


def _save(figure: Any, file: Path, title: str) -> None:
    from matplotlib import pyplot

    figure.axes[0].set_title(title, fontsize=10, loc="left")
    figure.savefig(file)
    pyplot.close(figure)


def _caption(results: Results) -> str:
    return (
        f"{results.architecture}, {results.experts} experts, {results.data} ({results.images} images), "
        f"{results.threads} thread(s)\n{results.machine.processor}"
    )


def _name(one: SetResults) -> str:
    return f"{one.backend} {one.recipe}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
