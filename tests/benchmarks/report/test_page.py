"""The page without a browser: self-contained, escaped, and complete."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import pytest

from edge_moe.benchmarks.report.sections import collect
from edge_moe.benchmarks.report.write import csvs, page
from tests.benchmarks.made import make

EVIL = "</script><script>alert(1)</script><!-- 鳥 ü \u2028 ]]> '\" &amp;"


class Reader(HTMLParser):
    """Collects visible text, ids, links and what scripts hold."""

    def __init__(self):
        super().__init__()
        self.words, self.ids, self.links, self.scripts, self.sources, self.open = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.sources += [value for key, value in attrs if key in ("src", "srcset", "action", "data", "poster")]
        if tag == "link":
            self.sources.append(found["href"])
        if tag == "script":
            self.scripts.append((found, ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            found, text = self.scripts[-1]
            self.scripts[-1] = (found, text + data)
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(*results):
    content = collect(results)
    raw = {f"{name}.json": json.dumps({"of": name}).encode() for name in content.names}
    made = page(content, raw, {"cost.png": b"picture"})
    reader = Reader()
    reader.feed(made)
    reader.close()
    assert reader.open == []
    return content, made, reader


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labels": False, "trained": False, "peers": False, "limits": False, "starts": 0, "experts": 1, "taus": (0.3,)},
        {"unit": "cycles", "raw": False, "rounds_asked": 9},
    ],
    ids=["all", "little", "cycles"],
)
def test_the_page(options):
    content, made, reader = read(make(images=50, timed=4, **options))
    blind_spots = content.sections["limits-of-this"].bullets
    assert len(blind_spots) >= 7
    for text in (content.title, content.finding, content.subject, *content.warnings, *blind_spots):
        assert " ".join(text.split()) in reader.text
    for table in (table for section in content.sections.values() for table in section.tables):
        for cell in (cell for row in table.rows for cell in row):
            assert cell in reader.text
    anchors = {link[1:] for link in reader.links}
    assert anchors <= set(reader.ids)
    assert all(source.startswith("data:") for source in reader.sources)
    assert "default-src 'none'" in made
    (picture,) = [source for source in reader.sources if source.startswith("data:image/png")]
    assert base64.b64decode(picture.split(",")[1]) == b"picture"


def test_no_milliseconds_where_none_were_measured():
    _, _, reader = read(make(images=50, timed=4, unit="cycles", raw=False))
    assert not re.search(r"\bms\b|millisecond|GMAC|cold start", reader.text, re.IGNORECASE)
    assert "M cycles" in reader.text


def test_names_are_text_whatever_they_hold():
    evil = make(images=20, timed=3, name=EVIL, machine=EVIL, data=EVIL, remarks=(EVIL,), target=EVIL)
    calm = make(images=20, timed=3, name="calm")
    _, made, reader = read(evil, calm)
    _, _, plain = read(calm, calm)
    assert len(reader.scripts) == len(plain.scripts)  # none more
    assert "alert(1)" in reader.text
    assert "<script>alert" not in made
    (data,) = [text for attributes, text in reader.scripts if attributes.get("id") == "report-data"]
    labels = {mark["name"] for view in json.loads(data)["charts"]["cost"]["views"] for mark in view["marks"]}
    assert f"litert/int8 ({EVIL})" in labels


def test_the_data_inside():
    content, _, reader = read(make(images=20, timed=3), make(images=20, timed=3, seed=1))
    packed = {attributes["data-packed"]: text for attributes, text in reader.scripts if "data-packed" in attributes}
    assert {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in packed.items()} == {
        "results-1.json": {"of": "results-1"},
        "results-2.json": {"of": "results-2"},
    }
    (data,) = [text for attributes, text in reader.scripts if attributes.get("id") == "report-data"]
    assert json.loads(data)["texts"] == csvs(content)


def test_a_section_for_every_question():
    _, _, reader = read(make(images=20, timed=3))
    assert [name for name in reader.ids if name != "report-data"] == [
        "measured", "cost", "relative", "accuracy", "promise", "points", "file", "samples", "parts", "limits", "shares",
        "agreement", "starts", "peers", "downloads", "limits-of-this", "glossary",
    ]  # fmt: skip
    _, _, reader = read(make(images=20, timed=3, labels=False, sets=(("litert", "int8"),), peers=False))
    assert "accuracy" not in reader.ids
    assert "No fp32 of the same backend is in the file of litert/int8" in reader.text
    assert "No alternative was measured in this run." in reader.text


def test_the_glossary_names_the_interval_of_a_ratio():
    _, _, reader = read(make(images=20, timed=3))
    assert (
        "Of a ratio: Student's t on the logarithms of each round's ratio; the ratio is their geometric mean."
        in reader.text
    )
    assert "bootstrap" not in reader.text


def test_what_is_told_of_sections_stands_in_one_place():
    """No paragraph of the prose is lost, and none holds a mark that only the file of prose has."""
    for options in ({}, {"experts": 0, "sets": (("litert", "int8"),)}, {"unit": "cycles", "raw": False}):
        content, _, reader = read(make(images=20, timed=3, **options))
        for section in content.sections.values():
            told = (*section.notes, *section.bullets, *(text for term in section.terms for text in term))
            assert told or section.key == "measured"
            for text in told:
                assert text in reader.text
                assert not any(mark in text for mark in ("::", "##", "{{", " | ", "  "))
