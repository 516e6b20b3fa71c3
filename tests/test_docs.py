"""What the documentation says: commands, options, links, files and records are there, and its examples are recorded."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from edge_moe.benchmarks import targets
from edge_moe.benchmarks.job import PLAN, ROUNDS
from edge_moe.benchmarks.recorded import StoredTrace
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.wire import Opening, Plan, PlannedSet, PointRound, Round, SetRound, Sustained, Window
from edge_moe.cli.app import app
from tests.fixtures import JOB

ROOT = Path(__file__).parents[1]
README, TARGETS, MEASURING = (ROOT / name for name in ("README.md", "docs/targets.md", "docs/measuring.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
MOST_WORDS, FIRST_SCREEN = 1550, 40


def test_the_first_screen_has_what_it_is_how_to_see_it_and_the_rule():
    text = README.read_text()
    first = "\n".join(text.splitlines()[:FIRST_SCREEN])
    rule = ("alpha_k = g_k * (1 - max phi)", "active  =", "exit    =", "else    =")
    for wanted in ("make demo", "make test", *rule, "](docs/latency.png)"):
        assert wanted in first
    assert len(text.split()) <= MOST_WORDS


def test_what_one_expert_answers_is_the_softmax_of_a_sum():
    """As `anytime.ensemble` has it, which a port would take from here."""
    assert "d_k = softmax(z + z_k)" in README.read_text()
    assert "softmax(base logits + expert logits)" in (ROOT / "docs/bundle.md").read_text()
    assert "softmax(z + z_k)" in (ROOT / "docs/how-it-works.svg").read_text()


def rows(text):
    return {line for line in text.splitlines() if re.match(r"\| [\d.]+ \|", line)}


def test_figures_that_stand_twice_are_the_same():
    shown = rows(README.read_text())
    assert len(shown) > 3
    assert shown <= rows((ROOT / "docs/cluttered-digits.md").read_text())


def commands(text):
    """Every command line that begins with edge-moe: lines of code, and code in a sentence."""
    text = re.sub(r"\\\n\s*", "", text)
    lines = re.findall(r"^ {4,}(?:\S*/)?edge-moe ([^#\n]*)", text, re.MULTILINE)
    return [shlex.split(re.sub("[<>]", "", one)) for one in (*lines, *re.findall(r"`edge-moe ([^`]+)`", text))]


@pages
def test_every_command_and_option_is_there(page):
    for words in commands(page.read_text()):
        command, rest = typer.main.get_command(app), list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith("-") and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        assert command.name != "edge-moe", f"{page.name}: no such command: edge-moe {' '.join(words)}"
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
        asked = {word.rstrip(".,;") for word in rest if re.match(r"--?[a-z]", word)}
        assert asked <= known, f"{page.name}: edge-moe {' '.join(words)}"


def prose(file):
    """Its text, but for blocks of code."""
    return re.sub(r"^```.*?^```", "", file.read_text(), flags=re.M | re.S)


def anchors(file):
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.+)$", prose(file), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pages
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if path.startswith("http"):
            continue
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {link}"


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", TARGETS, MEASURING], ids=lambda page: page.stem)
def test_every_file_of_the_project_that_is_named_is_there(page):
    for name in re.findall(r"`((?:benchmarks|converters|edge_moe|tests|examples|docs)/[\w/.*-]+)`", page.read_text()):
        assert name == "benchmarks/targets/core.py" or list(ROOT.glob(name)), f"{page.name}: {name}"


# --- what crosses to a target ---

PLANNED = json.loads((JOB / PLAN).read_text())
OPENED, *ANSWERED = (json.loads(line) for line in (JOB / ROUNDS).read_text().splitlines())


def is_cut_from(shown, whole):
    """Whether something was left away at most: fields, and the last elements of lists."""
    if isinstance(shown, dict) and isinstance(whole, dict):
        return all(key in whole and is_cut_from(value, whole[key]) for key, value in shown.items())
    if isinstance(shown, list) and isinstance(whole, list):
        return len(shown) <= len(whole) and all(map(is_cut_from, shown, whole))
    return shown == whole


def test_examples_are_cut_from_the_recorded_job():
    shown = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", TARGETS.read_text(), re.M | re.S)]
    assert len(shown) == 3
    for one, whole in zip(shown, (PLANNED, OPENED, ANSWERED[0]), strict=True):
        assert is_cut_from(one, whole)
    assert not is_cut_from({"seed": 1}, PLANNED)


def test_what_ran_is_told_as_it_was_recorded():
    told = re.findall(r"^\| `(.+?)` \| .*(?:exited|ran).* \| (.+) \|$", TARGETS.read_text(), re.MULTILINE)
    assert [text for text, _ in told] == ["null", "[]", "[1]", "[0, 1]"]
    points = ANSWERED[0]["sets"][0]["points"]
    for text, where in told:
        ran = json.loads(text)
        image, tau, most = re.match(r"image (\d) at tau ([\d.]+)(?:, `max_experts` (\d))?$", where).groups()
        setting = {"tau": float(tau), "max_experts": int(most or 1)}
        assert points[PLANNED["sets"][0]["settings"].index(setting)]["ran"][int(image)] == ran


RECORDS = (Plan, PlannedSet, Opening, Round, SetRound, PointRound, Sustained, Window)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_that_crosses_is_named(record):
    text = TARGETS.read_text()
    for name in record.__struct_encode_fields__:
        assert f"`{name}`" in text or f'"{name}"' in text, name


def test_every_field_of_results_is_named():
    text = MEASURING.read_text()
    (section,) = re.findall(r"^## results\.json\n(.*?)^## ", text, re.M | re.S)
    named = set(re.findall(r"`(\w+)`", section))
    assert {*Results.__struct_encode_fields__, *StoredTrace.__struct_encode_fields__} <= named


def test_the_target_of_the_page_is_one(monkeypatch):
    (block,) = re.findall(r"^```python\n(.*?)^```", TARGETS.read_text(), re.M | re.S)
    space: dict[str, object] = {}
    exec(block, space)
    monkeypatch.setattr(targets, "_registered", {})
    targets.register(space["TARGET"])
    found = targets.get("core:7")
    assert (found.name, found.available()[0].what, found.hands_out) == ("core:7", "core", False)
