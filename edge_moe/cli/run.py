"""edge-moe inspect, verify, run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from edge_moe.cli.console import console, say, say_json
from edge_moe.cli.devices import Device, backend_on, tolerance_on
from edge_moe.cli.network import one_of
from edge_moe.cli.sets import Backend, Backends, Recipe, Recipes, Set, Sets, split
from edge_moe.errors import DataError, EdgeMoeError
from edge_moe.text import is_text, printable

if TYPE_CHECKING:
    from edge_moe.operating import SetOperating
    from edge_moe.runtime import Prediction

__all__ = ["register"]

_log = logging.getLogger(__name__)

_MOST_BYTES = 512 << 20  # of an image on standard input
_MANY = 32  # images; more show a bar
_MILLISECONDS = "ms: from the input tensor to the answer; where an expert wakes for the first time, with opening it"

BundlePath = Annotated[Path, typer.Argument(help="Made by 'edge-moe convert'.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ExpectDigest = Annotated[
    str | None, typer.Option(help="Refuse a set that would answer otherwise; 'edge-moe inspect' prints the digest.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("inspect")(inspect)
    app.command("verify")(verify)
    app.command("run")(run)


def inspect(bundle: BundlePath, json: Json = False) -> None:
    """Show what a bundle holds: parts, artifacts, operating points, digests, and the tools that made it."""
    import msgspec

    from edge_moe.bundle import Bundle
    from edge_moe.certificates import in_words, stale
    from edge_moe.digest import answers_digest
    from edge_moe.gains import nothing_gained
    from edge_moe.here import unmet
    from edge_moe.sizes import size_text
    from edge_moe.text import counted

    opened = Bundle(bundle)
    manifest, operating = opened.manifest, opened.operating_sets
    digests = {str(one.key): answers_digest(manifest, one) for one in manifest.sets}
    if json:
        shown = msgspec.to_builtins(manifest) | {"digests": digests, "operating": msgspec.to_builtins(operating)}
        say_json(shown)
        return
    screen = console()
    trained = "" if manifest.trained else ", UNTRAINED (for latency only)"
    screen.print(
        f"{bundle}: {manifest.architecture}, {counted(manifest.experts)}, {len(manifest.labels)} classes, "
        f"{size_text(manifest.preprocessing.image_size)} pixels{trained}",
    )
    table = Table(title="parts")
    table.add_column("part")
    table.add_column("MACs (M)", justify="right")
    table.add_column("parameters", justify="right")
    for artifacts in manifest.sets:
        table.add_column(f"{artifacts.backend}\n{artifacts.recipe.name}\nKiB", justify="right")
    for name, part in manifest.parts.items():
        sizes = [f"{s.parts[name].bytes / 1024:.0f}" for s in manifest.sets]
        table.add_row(name, f"{part.macs / 1e6:.3f}", f"{part.parameters:,}", *sizes)
    screen.print(table)
    for name, one in operating.items():
        if one.operating_points:
            screen.print(_operating_points(name, one))
    for artifacts in manifest.sets:
        if needs := unmet(artifacts.runs_on):
            say(f"{artifacts.key} cannot run here: {needs}")
    for line in nothing_gained(operating):
        say(line)
    for name, one in operating.items():
        if one.certificate is not None:
            problem = stale(one)
            why = "" if problem is None else f" DOES NOT STAND: {problem}"
            say(f"{name} at its default tau promises {in_words(one.certificate)}{why}")
    if len(manifest.sets) > 1:
        say(f"where no set is named, {manifest.sets[0].key} runs")
    for name, digest in digests.items():
        say(f"digest of {name}: {digest}")
    tools = ", ".join(f"{name} {version}" for name, version in manifest.tools.items())
    rule = f"ensemble: {manifest.ensemble} in {manifest.space} space; " if manifest.experts else ""
    screen.print(f"{rule}made with {tools}")


def verify(
    bundle: BundlePath,
    sets: Sets = None,
    backend: Backends = None,
    recipe: Recipes = None,
    device: Device = "host",
    expect_digest: ExpectDigest = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only what failed.")] = False,
) -> None:
    """Check every hash, then preprocessing, exit rule, every artifact and the whole by the golden samples."""
    from edge_moe.bundle import Bundle
    from edge_moe.digest import check_digest
    from edge_moe.errors import IntegrityError
    from edge_moe.sets import patterns
    from edge_moe.verify import verify as check

    opened = Bundle(bundle)
    wanted = patterns(split(sets), split(backend), split(recipe))
    chosen = opened.manifest.select(wanted)
    if expect_digest is not None:
        check_digest(opened.manifest, chosen[0], expect_digest)
    engines = None if device == "host" else lambda name: backend_on(device, opened, name)
    own = None if device == "host" else tolerance_on(device)
    checks = check(opened, sets=[one.key for one in chosen] if wanted else (), engines=engines, tolerance=own)
    table = Table(title=f"{bundle}{'' if engines is None else f' on {device}'}")
    for column in ("set", "what", "", "detail"):
        table.add_column(column)
    failed = [one for one in checks if not one.passed]
    skipped = [one for one in checks if one.skipped]
    for one in failed if quiet else checks:
        fate = "skipped" if one.skipped else "ok" if one.passed else "FAILED"
        table.add_row(one.set, one.what, fate, one.detail)
    if table.row_count:
        console().print(table)
    if failed:
        first = f"{failed[0].set}, {failed[0].what}: {failed[0].detail}"
        raise IntegrityError(f"{len(failed)} of {len(checks)} checks failed; first: {first}")
    for one in skipped if quiet else ():
        say(f"{one.set}, {one.what}: skipped, {one.detail}")
    left = f"; {len(skipped)} skipped" if skipped else ""
    say(f"{bundle}: {len(checks) - len(skipped)} checks passed{left}")


def run(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of them, or - for one on standard input.")],
    tau: Annotated[float | None, typer.Option(help="From 0 (never exit) to 1; the bundle's default.")] = None,
    max_experts: Annotated[int | None, typer.Option(help="The bundle's default.")] = None,
    top: Annotated[int, typer.Option(help="How many classes to name, the likeliest first.")] = 1,
    set_: Set = None,
    backend: Backend = None,
    recipe: Recipe = None,
    device: Device = "host",
    expect_digest: ExpectDigest = None,
    threads: int = 1,
    policy: Annotated[
        str,
        typer.Option(
            help="arrival: one by one. grouped: the same answers, each expert opened once. budget: the best experts of "
            "all images for --budget-macs.",
        ),
    ] = "arrival",
    budget_macs: Annotated[
        float | None, typer.Option(help="For --policy budget: MACs for all images together, such as 2.5e9.")
    ] = None,
    json: Json = False,
) -> None:
    """Classify images: class, probability, whether it exited early, which experts ran, MACs, milliseconds.

    Milliseconds are from the input tensor to the answer, without decoding the image; the first image that wakes an
    expert waits until its artifact is read, checked and opened, and that is in its milliseconds.
    """
    from edge_moe.bundle import Bundle
    from edge_moe.burst import POLICIES
    from edge_moe.checks import check_at_least_one
    from edge_moe.here import pick
    from edge_moe.progress import shown_progress
    from edge_moe.runtime import Runtime
    from edge_moe.sets import patterns

    check_at_least_one(top=top)
    rows: list[dict[str, Any]] = []
    failures: list[EdgeMoeError] = []
    opened = Bundle(bundle)
    key = pick(opened.manifest, patterns(split(set_), split(backend), split(recipe))).key
    with Runtime(
        opened,
        tau=tau,
        max_experts=max_experts,
        backend=key.backend if device == "host" else backend_on(device, opened, key.backend),
        recipe=key.recipe,
        threads=threads,
        expect_digest=expect_digest,
    ) as model:
        sources = _sources(images)
        with shown_progress() if len(sources) > _MANY else nullcontext() as progress:
            found = model.predict_many(
                [source for _, source in sources],
                policy=one_of("policy", policy, POLICIES),
                budget_macs=budget_macs,
                progress=progress,
            )
            answered = sorted(found, key=lambda one: one.index)
        for (name, _), one in zip(sources, answered, strict=True):
            # One bad file among many does not cost the answers for the others.
            if one.prediction is not None:
                rows.append(_row(name, one.prediction, model.manifest.labels, top, clocked=device == "host"))
            elif one.error is not None:
                if len(sources) == 1:
                    raise one.error
                failures.append(one.error)
                rows.append({"image": _in_json(name), "error": str(one.error)})
        if not model.manifest.trained:
            say("UNTRAINED network: for latency only, its answers are noise", err=True)
    if json:
        say_json(rows)
    else:
        console().print(_answers(rows, "base (exit)" if model.manifest.experts else "base"))
    if failures:
        raise type(failures[0])(f"{len(failures)} of {len(sources)} images could not be read; first: {failures[0]}")


def _sources(given: Sequence[Path]) -> list[tuple[str, Path | bytes]]:
    """Return the name and the file, or the bytes, of every image that was given; those of a folder sorted.

    Raises:
        DataError: a folder without an image, or nothing on standard input.
    """
    from edge_moe.folders import LeftOut, find_images

    found: list[tuple[str, Path | bytes]] = []
    for one in given:
        if str(one) == "-":
            found.append(("-", _standard_input()))
        elif one.is_dir():
            left_out = LeftOut()
            inside = find_images(one, left_out)
            if not inside:
                raise DataError(f"{one} has no images{left_out.instead}; name another folder")
            if str(left_out):
                _log.info(f"{one}: {len(inside)} images are read; left out: {left_out}")
            found += [(str(file), file) for file in inside]
        else:
            found.append((str(one), one))
    return found


def _row(name: str, prediction: Prediction, labels: Sequence[str], top: int, *, clocked: bool) -> dict[str, Any]:
    """Return an answer; a clock here tells nothing about another device."""
    row = {
        "image": _in_json(name),
        "label": prediction.label,
        "probability": prediction.probability,
        "exited": prediction.exited,
        "experts": list(prediction.experts),
        "macs": prediction.macs,
        "milliseconds": prediction.milliseconds if clocked else None,
    }
    if top > 1:
        shares = prediction.probabilities
        likeliest = sorted(range(len(shares)), key=lambda index: (index != prediction.index, -shares[index]))[:top]
        row["top"] = [{"label": labels[index], "probability": float(shares[index])} for index in likeliest]
    return row


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if not data:
        raise DataError("there is nothing on standard input; expected the bytes of one image")
    if len(data) > _MOST_BYTES:
        raise DataError(f"standard input has more than {_MOST_BYTES:,} bytes; expected those of one image")
    return data


def _in_json(name: str) -> str:
    """Return the name of a file, with bytes that are no text as `printable` shows them: JSON has no others."""
    return name if is_text(name) else printable(name)


def _answers(rows: list[dict[str, Any]], alone: str) -> Table:
    several = any("top" in row for row in rows)
    table = Table(caption=_MILLISECONDS if any(row.get("milliseconds") for row in rows) else None)
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    for column in ("probability", "answered by", "MACs (M)", "ms"):
        table.add_column(column, justify="right")
    if several:
        table.add_column("next", overflow="fold")
    for row in rows:
        if "error" in row:
            table.add_row(row["image"], "could not be read")
            continue
        by = alone if row["exited"] else "base + expert " + ", ".join(map(str, row["experts"]))
        others = ", ".join(f"{one['label']} {one['probability']:.1%}" for one in row.get("top", ())[1:])
        table.add_row(
            row["image"],
            row["label"],
            f"{row['probability']:.3f}",
            by,
            f"{row['macs'] / 1e6:.3f}",
            "" if row["milliseconds"] is None else f"{row['milliseconds']:.2f}",
            *([others] if several else []),
        )
    return table


def _operating_points(name: str, operating: SetOperating) -> Table:
    points = operating.operating_points
    table = Table(title=f"{name}: operating points on {points[0].samples} images (* the default)")
    for column in ("tau", "max experts", "exit rate", "mean MACs (M)", "accuracy"):
        table.add_column(column, justify="right")
    for point in points:
        default = (point.tau, point.max_experts) == (operating.default_tau, operating.default_max_experts)
        table.add_row(
            f"{'* ' if default else ''}{point.tau:g}",
            str(point.max_experts),
            f"{point.exit_rate:.1%}",
            f"{point.mean_macs / 1e6:.3f}",
            "" if point.accuracy is None else f"{point.accuracy:.2%}",
        )
    return table
