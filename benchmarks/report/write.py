"""All files of a report, or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_moe.benchmarks.report import csvs, markdown, page, pictures
from edge_moe.benchmarks.report.content import collect
from edge_moe.benchmarks.results import Results
from edge_moe.output import write_file, writing
from edge_moe.work import making

__all__ = ["write_report"]


def write_report(
    results: Sequence[Results],
    out: Path,
    *,
    names: Sequence[str] | None = None,
    force: bool = False,
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
        content = collect(results, names)
        raw = {
            f"{name}.json": msgspec.json.encode(file) + b"\n"
            for name, file in zip(content.names, content.results, strict=True)
        }
        texts = csvs.files(content)
        folder = work.fresh()
        with writing(folder):
            drawn = {name: (folder / name).read_bytes() for name in pictures.draw(content, folder)}
        files: dict[str, bytes] = {
            "report.html": page.render(content, raw, texts, drawn).encode(),
            **raw,
            "results.md": markdown.page(content).encode(),
            **{name: text.encode() for name, text in texts.items()},
        }
        for name, data in files.items():
            write_file(folder / name, data)
        work.publish()
    return [out / name for name in (*files, *drawn)]
