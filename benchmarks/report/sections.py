"""All that a report says, collected once as a list of sections: page, markdown and CSV only give it a form.

What a section is called and how it is read stands in prose.j2, in the order of the page; what follows from the numbers
stands here, by its key. So a new section is a heading there and an entry here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from edge_moe.benchmarks.report import charts, compare, npu, promised, rows, story, sustained, tables
from edge_moe.benchmarks.report.series import Series, best_products, build
from edge_moe.benchmarks.report.words import file_names, listed
from edge_moe.benchmarks.results import Results

__all__ = ["Report", "Section", "asset", "collect", "filled"]

_ONLY_TABLES = ("file", "wins", "relative", "tool")  # sections that are nothing else


@dataclass
class Section:
    """What there is to say of one question: paragraphs, points, a chart, tables, and names with what they are."""

    key: str
    title: str
    switch: str = ""  # what the views of its chart are
    about: str = ""  # the chart, for those who cannot see it
    notes: list[str] = field(default_factory=list)
    bullets: list[str] = field(default_factory=list)
    views: list[charts.View] = field(default_factory=list)
    tables: list[tables.Table] = field(default_factory=list)
    terms: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """A headline, sections, and the same in figures."""

    results: Sequence[Results]
    names: Sequence[str]  # of the files
    series: Sequence[Series]
    title: str
    subject: str
    finding: str
    mended: str  # empty: not known
    warnings: Sequence[str]
    sections: dict[str, Section]
    rows: dict[str, list[rows.Row]]  # of the CSV files, by their names


def collect(results: Sequence[Results], names: Sequence[str] | None = None) -> Report:
    """Work out all that a report says.

    Raises:
        UsageError: not a name for each file.
    """
    files, series = file_names(results, names), build(results, names)
    alike, beside = compare.agreements(series), compare.beside_peers(series)
    drawn, of_sets = charts.draw(series, alike, beside), [tables.of_set(one, alike, beside) for one in series]
    drawn["sustained"], drawn["promise"] = sustained.views(series), promised.views(series)
    finding, lost = story.finding(series[0]), story.lost(series, beside)
    alone = [one.label for one in series if compare.reference(series, one) is None]
    unknown = f"No fp32 of the same backend is in the file of {listed(alone)}: nothing to compare with."
    lead = "Where ours loses:" if lost else "Ours loses to none of those that were measured."
    lead = lead if beside else f"No alternative was measured in {'this run' if len(results) == 1 else 'these runs'}."
    notes = {
        "points": [*story.provenance(results), *story.over(results)],
        "promise": promised.notes(series),
        "agreement": [unknown] * bool(alone),
        "peers": [lead],
    }
    first = {"measured": tables.measured(results, files), "limits": tables.limits(results, files)}
    first |= {"starts": tables.starts(series), "wins": tables.wins(series, files), "sustained": sustained.table(series)}
    relative, in_words = npu.relative(series, files)
    first |= {"relative": relative, "tool": npu.details(series, files)}
    sections: dict[str, Section] = {}
    for key, section in _prose(_facts(results, series)).items():
        found = [*([first[key]] if key in first else []), *(each[key] for each in of_sets if key in each)]
        section.views, section.tables = drawn.get(key, []), [table for table in found if table.rows]
        section.notes += notes.get(key, [])
        empty = section.about or key in _ONLY_TABLES  # a chart, or tables, without anything in it
        if section.views or section.tables or notes.get(key) or not empty:
            sections[key] = section
    if "relative" in sections:
        sections["relative"].bullets = in_words
    sections["peers"].bullets, sections["peers"].terms = lost, tables.about_peers(results)
    return Report(
        results, files, series, *story.subject(results), finding, story.mended(series[0], finding),
        story.warnings(results, files), sections,
        rows.csv_rows(results, files, series, beside) | {"sustained": sustained.csv_rows(files, series)},
    )  # fmt: skip


def _facts(results: Sequence[Results], series: Sequence[Series]) -> dict[str, Any]:
    """Return what decides which words of prose.j2 are right."""
    points, units = [point for one in series for point in one.points], {one.unit.name: one.unit for one in series}
    timed = [unit.is_time for unit in units.values()]
    return {
        "mixtures": not all(one.plain for one in series), "plain": any(one.plain for one in series),
        "timed": any(timed), "counted": not all(timed), "units": " ".join(", ".join(sorted(units)).split()),
        "limited": any(map(best_products, results)), "labelled": any(p.point.accuracy is not None for p in points),
        "several": len(results) > 1, "units_differ": len(units) > 1, "sustained": any(one.sustained for one in results),
        "settings": any(len(one.points) > 1 for one in series), "peers": any(file.peers for file in results),
        "waking": any(p.point.max_experts > 1 for p in points), "predicted": any(p.raw is None for p in points),
        "woken": any(part.waking for one in series for part in one.one.parts),
        "preprocessing": listed(dict.fromkeys(f.unit.text(f.preprocessing) for f in results if f.preprocessing)),
    }  # fmt: skip


def _prose(facts: Mapping[str, Any]) -> dict[str, Section]:
    """Return the sections in their order, with what prose.j2 says of them."""
    found: dict[str, Section] = {}
    for line in filter(None, filled("prose.j2", autoescape=False, **facts).splitlines()):
        if line.startswith("## "):
            key, head = line[3:].split(": ", 1)
            title, switch, about = (*head.split(" | "), "", "")[:3]
            section = found[key] = Section(key, title, switch, about)
        elif line.startswith("- "):
            section.bullets.append(line[2:])
        elif ":: " in line:
            name, about = line.split(":: ", 1)
            section.terms.append((name, about))
        else:
            section.notes.append(line)
    return found


def filled(name: str, *, autoescape: bool, **values: Any) -> str:
    """Return a template of this folder with everything in it that it names."""
    import jinja2

    made = jinja2.Environment(autoescape=autoescape, trim_blocks=True, lstrip_blocks=True)
    made.undefined = jinja2.StrictUndefined
    return made.from_string(asset(name)).render(values)


def asset(name: str) -> str:
    """Return a file of this folder."""
    return resources.files("edge_moe.benchmarks.report").joinpath(name).read_text(encoding="utf-8")
