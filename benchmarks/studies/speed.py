"""What the runtime adds to its parts, and what one would do otherwise: MobileNetV3-Small, 224 pixels, 1000 classes.

    python -m edge_moe.benchmarks.studies.speed -o build/speed

Runs of `edge-moe bench --peers` with the first int8 recipe of every backend: twice on one thread, to see whether two
runs rank alike, once on two threads. Ratios are taken inside one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import msgspec

from edge_moe.backends import native
from edge_moe.benchmarks.journal import Journal, journal
from edge_moe.benchmarks.measured import MeasuredPeer, PointCosts, SetResults
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.report import write_report
from edge_moe.benchmarks.request import check
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.samples import typical
from edge_moe.benchmarks.studies.full_size import TITLE, full_size_bundle, full_size_checkpoint
from edge_moe.benchmarks.studies.turns import Goal, at_most, goals_table
from edge_moe.benchmarks.sweep import sweep
from edge_moe.converters import recipes
from edge_moe.data import NOISE
from edge_moe.output import write_file
from edge_moe.progress import Progress, shown_progress

__all__ = ["judge", "main", "rank_alike", "to_markdown"]

_MOST = 1.03  # of the sum of parts, and of the raw call
_APART = 1.03  # operating points nearer than that have no order that two runs could agree on
_BASE_ONLY, _IF = "base only", "one graph with If"  # names of peers


def judge(results: Results) -> list[Goal]:
    """Hold one run against its bars."""
    found = []
    threads = f"{results.threads} thread{'s' if results.threads > 1 else ''}"
    peers = {(one.name, one.backend, one.recipe, one.tau): one.raw for one in results.peers if one.raw is not None}
    default = results.sets[0]
    for one in results.sets:
        raw = peers[_BASE_ONLY, one.backend, one.recipe, None]
        exits = next(point for point in one.points if point.point.tau == 1.0)
        found.append(at_most(f"{threads}, {one.label}: exit path / raw call", exits.mean / typical(raw), _MOST))
    for one in results.sets:
        for point in one.points:
            what = f"{threads}, {one.label}, exit rate {point.point.exit_rate:.0%}: mean / sum of parts"
            found.append(at_most(what, point.mean / point.predicted, _MOST))
    for (name, backend, recipe, tau), raw in peers.items():
        if name != _IF or tau is None:
            continue
        same = next(one for one in results.sets if (one.backend, one.recipe) == (backend, recipe))
        for one in (default, same):
            point = _at_exit_rate_of(one, same, tau)
            what = f"{threads}, exit rate {point.point.exit_rate:.0%}: {one.label} / If graph of {same.label}"
            found.append(at_most(what, point.mean / typical(raw), 1.0))
    return found


def _at_exit_rate_of(one: SetResults, other: SetResults, tau: float) -> PointCosts:
    """Return the point of `one` that stands where `other` has `tau`: each set has its own quantiles of alpha."""
    index = next(i for i, point in enumerate(other.points) if point.point.tau == tau)
    return one.points[index]


def rank_alike(first: Results, second: Results) -> Goal:
    """Count the pairs of operating points that two runs put in opposite orders, though both see them apart."""
    means = [
        (a.mean, b.mean)
        for one, other in zip(first.sets, second.sets, strict=True)
        for a, b in zip(one.points, other.points, strict=True)
    ]
    pairs = list(combinations(means, 2))
    opposite = sum(
        (a[0] > _APART * b[0] and b[1] > _APART * a[1]) or (b[0] > _APART * a[0] and a[1] > _APART * b[1])
        for a, b in pairs
    )
    return at_most(
        f"two runs: pairs of {len(means)} operating points ranked the other way, of {len(pairs)}", opposite, 0
    )


def to_markdown(runs: Sequence[Results], found: Sequence[Goal]) -> str:
    """Return the bars as a page that a person can read."""
    first = runs[0]
    lines = [
        f"# {TITLE}",
        "",
        f"{first.machine.processor}, {first.rounds} rounds of {len(first.timed)} images.",
        *(
            f"Run {i}, {one.threads} thread(s): {'; '.join(one.conditions.remarks) or 'quiet'}."
            for i, one in enumerate(runs, 1)
        ),
        "",
        *goals_table(found),
        "",
        *_ways(runs),
    ]
    return "\n".join(lines) + "\n"


def _ways(runs: Sequence[Results]) -> list[str]:
    """Return the lines of a table with every way to answer, ours and others: mean milliseconds in each run."""
    table: dict[tuple[str, str], list[str]] = {}
    for index, run in enumerate(runs):
        means = {
            (f"edge-moe, exit rate {point.point.exit_rate:.0%}", one.label): point.mean
            for one in run.sets
            for point in one.points
        }
        for peer in run.peers:
            if peer.raw is not None:
                at = "" if peer.tau is None else f", exit rate {_exit_rate(run, peer):.0%}"
                means[f"{peer.name}{at}", str(peer.key)] = typical(peer.raw)
        for way, mean in means.items():
            table.setdefault(way, [""] * len(runs))[index] = f"{mean:.3f}"
    heads = [f"run {i}, {run.threads} thread{'s' if run.threads > 1 else ''}" for i, run in enumerate(runs, 1)]
    lines = [f"| mean ms | set | {' | '.join(heads)} |", f"|---|---|{'---:|' * len(runs)}"]
    return lines + [f"| {name} | {label} | {' | '.join(cells)} |" for (name, label), cells in table.items()]


def _exit_rate(run: Results, peer: MeasuredPeer) -> float:
    (one,) = (one for one in run.sets if (one.backend, one.recipe) == (peer.backend, peer.recipe))
    return next(point.point.exit_rate for point in one.points if point.point.tau == peer.tau)


def _run(
    bundle: Path, checkpoint: Path, kept: ExitStack, folder: Path, threads: int, rounds: int, progress: Progress
) -> tuple[Results, Journal]:
    """Return what was measured, and the journal, from which an interrupted benchmark takes the runs that it has."""
    options = BenchOptions(
        recipes=tuple(f"{backend}/{recipes.book(backend).candidates[0]}" for backend in native()),
        max_experts=(1,),
        threads=threads,
        timed_images=40,
        rounds=rounds,
        peers=True,
        checkpoint=str(checkpoint),
    )
    request = check(bundle, NOISE, options)
    one = kept.enter_context(journal(folder, request.key(), force=True))
    results = sweep(request, journal=one, progress=progress)
    if not results.complete:
        raise KeyboardInterrupt  # the same command goes on with this run
    write_file(folder / "results.json", msgspec.json.encode(results))
    return results, one


def main() -> None:
    """Read the arguments, measure, print and write the report."""
    parser = argparse.ArgumentParser(description="Measure the runtime and its peers at full size.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for speed.md, report and bundle")
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 1, 2])
    arguments = parser.parse_args()
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as kept, shown_progress() as progress:
        bundle = full_size_bundle(folder, arguments.experts, progress, native())
        checkpoint = full_size_checkpoint(folder, arguments.experts)
        measured = [
            _run(bundle, checkpoint, kept, folder / f"run-{i}", threads, arguments.rounds, progress)
            for i, threads in enumerate(arguments.threads, 1)
        ]
        runs = [results for results, _ in measured]
        found = [bar for one in runs for bar in judge(one)]
        alike = [(a, b) for a, b in combinations(runs, 2) if a.threads == b.threads]
        found += [rank_alike(a, b) for a, b in alike[:1]]
        write_file(folder / "speed.md", to_markdown(runs, found).encode())
        write_report(runs, folder / "report", force=True)
        for _, one in measured:
            one.drop()
    print(to_markdown(runs, found))


if __name__ == "__main__":
    main()
