"""report.html: one file that needs no network, no other file and, but for its charts, no script."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

from edge_moe.benchmarks.report.charts import Chart, draw
from edge_moe.benchmarks.report.content import Content
from edge_moe.benchmarks.report.style import DARK, LIGHT
from edge_moe.benchmarks.results import SCHEMA_VERSION

__all__ = ["render"]


def render(content: Content, raw: Mapping[str, bytes], texts: Mapping[str, str], pictures: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        content: what it says.
        raw: name -> bytes of the results files, given out by the page as they are.
        texts: name -> text of the CSV files.
        pictures: name -> PNG, for readers without JavaScript.
    """
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    # Autoescape: names of bundles, machines and labels are text, whatever they hold.
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    charts = draw(content)
    return environment.from_string(_asset("page.html.j2")).render(
        c=content,
        charts=charts,
        units=sorted({file.unit for file in content.results}),
        data=Markup(_json(_data(content, charts, texts))),
        # The raw samples shrink to a third, base64 included; the page unpacks what it gives out.
        packed={name: base64.b64encode(gzip.compress(data, 6, mtime=0)).decode() for name, data in raw.items()},
        sizes={name: len(data) for name, data in raw.items()} | {n: len(t.encode()) for n, t in texts.items()},
        pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        plotly=Markup(get_plotlyjs()),
    )


def _data(content: Content, charts: Mapping[str, Chart], texts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,  # marks the page, and so its folder, as ours
        "charts": {key: asdict(chart) for key, chart in charts.items()},
        "themes": {"light": LIGHT, "dark": DARK},
        "texts": dict(texts),
        "untrained": not any(file.bundle.trained for file in content.results),
    }


def _json(value: Any) -> str:
    """Return JSON that may stand in a script element: nothing in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return resources.files("edge_moe.benchmarks.report").joinpath(name).read_text(encoding="utf-8")
