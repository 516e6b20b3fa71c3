"""Every study is listed, has a test, and is one command that the documentation gives."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from edge_moe.benchmarks import studies

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "benchmarks/studies"
PACKAGE = "edge_moe.benchmarks.studies"
DOCUMENTATION = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

LISTED, SHARED = (
    re.findall(r"^    (\w+) +\S", text, re.MULTILINE) for text in studies.__doc__.split("What they share:")
)


def test_the_list_is_of_all_modules():
    there = sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "__init__")
    assert sorted([*LISTED, *SHARED]) == there
    assert sorted(LISTED) == LISTED and sorted(SHARED) == SHARED


@pytest.mark.parametrize("name", [*LISTED, *SHARED])
def test_each_has_a_test(name):
    text = (Path(__file__).parent / f"test_{name}.py").read_text()
    assert f"from {PACKAGE} import {name}" in text


@pytest.mark.parametrize("name", LISTED)
def test_each_is_one_command_with_help(name, monkeypatch, capsys):
    command = rf"python -m {PACKAGE}\.{name}\b"
    assert any(re.search(command, file.read_text()) for file in DOCUMENTATION)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as done:
        importlib.import_module(f"{PACKAGE}.{name}").main()
    assert done.value.code == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage: ") and not said.err


@pytest.mark.parametrize("name", SHARED)
def test_what_they_share_is_no_command(name):
    assert not hasattr(importlib.import_module(f"{PACKAGE}.{name}"), "main")


def test_every_command_in_the_documentation_is_there():
    named = {name for file in DOCUMENTATION for name in re.findall(rf"-m {PACKAGE}\.(\w+)", file.read_text())}
    assert named == set(LISTED)


def test_nothing_else_imports_them():
    """It would not be found in a wheel."""
    asks = re.compile(r"^\s*(?:from|import) edge_moe\.benchmarks(?:\.studies| import .*\bstudies\b)", re.MULTILINE)
    sources = [file for folder in ("edge_moe", "converters", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    assert [file for file in sources if asks.search(file.read_text()) and not file.is_relative_to(FOLDER)] == []
    assert any(asks.search(file.read_text()) for file in sources)  # they import each other
