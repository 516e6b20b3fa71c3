"""All files of a report, or none: what the sections say as a page, in markdown and as CSV files."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from gzip import compress
from pathlib import Path

import msgspec

from edge_moe.benchmarks.report import pictures
from edge_moe.benchmarks.report.sections import Report, asset, collect, filled
from edge_moe.benchmarks.report.tables import Table
from edge_moe.benchmarks.report.words import DARK, LIGHT
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.wire import SCHEMA_VERSION
from edge_moe.output import write_file, writing
from edge_moe.text import in_csv, in_markdown
from edge_moe.work import making

__all__ = ["csvs", "markdown", "page", "table", "write_report"]

_PAGE_ALONE = ("cost", "accuracy", "samples", "parts", "downloads", "glossary")  # sections


def write_report(
    results: Sequence[Results], out: Path, *, names: Sequence[str] | None = None, force: bool = False
) -> list[Path]:
    """Write the report of one or several results files into the folder `out`; return its files, the page first.

    Args:
        results: at least one.
        out: made beside its place and renamed when it is whole.
        names: of the results where there are several, for labels and files; default results-1, results-2 ...
        force: replace what is there.

    Raises:
        OutputError: `out` exists and `force` is not given, or cannot be written.
        UsageError: not a name for each file.
    """
    with making(out, "report", force=force) as work:
        report, folder = collect(results, names), work.fresh()
        data = [msgspec.json.encode(file) + b"\n" for file in results]
        raw = {f"{name}.json": content for name, content in zip(report.names, data, strict=True)}
        with writing(folder):
            drawn = {name: (folder / name).read_bytes() for name in pictures.draw(report, folder)}
        texts = {"results.md": markdown(report), **csvs(report)}
        files = {"report.html": page(report, raw, drawn).encode(), **raw}
        files |= {name: text.encode() for name, text in texts.items()}
        for name, content in files.items():
            write_file(folder / name, content)
        work.publish()
    return [out / name for name in (*files, *drawn)]


def page(report: Report, raw: Mapping[str, bytes], pictures: Mapping[str, bytes]) -> str:
    """Return report.html: one file that needs no network, no other file and, but for its charts, no script.

    It gives out the results files, name -> `raw`, as they are; readers without JavaScript get `pictures`, name -> PNG.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    sections, texts = report.sections, csvs(report)
    every = {**raw, **{name: text.encode() for name, text in texts.items()}}
    given = {
        "schema_version": SCHEMA_VERSION,  # marks the page, and so its folder, as ours
        "charts": {key: {"switch": one.switch, "views": one.views} for key, one in sections.items() if one.views},
        "themes": {"light": LIGHT, "dark": DARK}, "texts": texts,
    }  # fmt: skip
    script = msgspec.json.encode(given).decode()
    for letter in "<>&":  # nothing in it may close the element that it stands in, or open a comment
        script = script.replace(letter, f"\\u{ord(letter):04x}")
    # Autoescape: names of bundles, machines and labels are text, whatever they hold.
    return filled(
        "page.html.j2", autoescape=True, report=report, sections=sections.values(), data=Markup(script),
        style=Markup(asset("page.css")), script=Markup(asset("page.js")), plotly=Markup(get_plotlyjs()),
        # The raw samples shrink to a third, base64 included; the page unpacks what it gives out.
        packed={name: b64encode(compress(content, 6, mtime=0)).decode() for name, content in raw.items()},
        sizes={name: len(content) / 1024 for name, content in every.items()},
        pictures={name: b64encode(content).decode() for name, content in pictures.items()},
    )  # fmt: skip


def csvs(report: Report) -> dict[str, str]:
    """Return name -> text of the CSV files that have a row; None becomes empty."""
    found: dict[str, str] = {}
    for key, rows in report.rows.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        writer = csv.DictWriter(stream := io.StringIO(), columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: in_csv(cell) for name, cell in row.items()} for row in rows)
        found |= {f"{key}.csv": stream.getvalue()} if rows else {}
    return found


def markdown(report: Report) -> str:
    """Return results.md, for terminals and git: the report without its charts."""
    blocks = [f"# {in_markdown(report.title)}", *map(in_markdown, (report.subject, report.finding, report.mended))]
    blocks += [f"**{in_markdown(warning)}**" for warning in report.warnings]
    for section in (section for key, section in report.sections.items() if key not in _PAGE_ALONE):
        blocks += [f"## {in_markdown(section.title)}", *map(in_markdown, section.notes)]
        blocks.append("\n".join(f"- {in_markdown(text)}" for text in section.bullets))
        for one in section.tables:
            blocks += [f"### {in_markdown(one.title)}" if one.title else "", table(one)]
        blocks.append("\n".join(f"- {in_markdown(name)}: {in_markdown(about)}" for name, about in section.terms))
    return "\n\n".join(block for block in blocks if block) + "\n"


def table(one: Table) -> str:
    """Return a table in markdown; the rows that matter most are bold."""
    ruler = "".join("---|" if i < one.words else "---:|" for i in range(len(one.columns)))
    rows = [[f"**{cell}**" if cell and i in one.marked else cell for cell in row] for i, row in enumerate(one.rows)]
    lines = ["| " + " | ".join(map(in_markdown, cells)) + " |" for cells in (one.columns, *rows)]
    return "\n".join([lines[0], f"|{ruler}", *lines[1:]]) if rows else ""
