"""edge-moe report: one or several results, by file or by folder, and what it refuses."""

from __future__ import annotations

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from edge_moe.benchmarks import results
from edge_moe.benchmarks.report import pictures
from edge_moe.cli import report
from edge_moe.errors import DataError, OutputError
from tests.benchmarks.made import make
from tests.tiny import tree

SMALL = {"images": 12, "timed": 2, "sets": (("litert", "int8"),)}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Pictures take the most time."""
    monkeypatch.setattr(pictures, "draw", lambda content, folder: [])


@pytest.fixture
def call():
    """call("results.json", "-o", "report") -> its output; raises what the command raises."""
    app = typer.Typer(pretty_exceptions_enable=False)
    report.register(app)

    def run(*arguments):
        done = CliRunner().invoke(app, [str(one) for one in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run


@pytest.fixture
def measured(tmp_path):
    """Two folders with a results.json each."""
    for seed, name in enumerate(("phone", "laptop")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_bytes(msgspec.json.encode(make(**SMALL, seed=seed)))
    return tmp_path


def test_one(call, measured):
    done = call(measured / "phone/results.json", "-o", measured / "report")
    assert done.exit_code == 0
    files = done.output.splitlines()
    assert files[:2] == [str(measured / "report" / name) for name in ("report.html", "results.json")]
    assert results.load(measured / "report/results.json") == make(**SMALL)


def test_several_by_folder(call, measured):
    call(measured / "phone", measured / "laptop/results.json", "-o", measured / "report")
    for seed, name in enumerate(("phone", "laptop")):
        assert results.load(measured / "report" / f"{name}.json") == make(**SMALL, seed=seed)


def test_what_it_refuses(call, measured):
    before = tree(measured)
    with pytest.raises(DataError, match="none does not exist"):
        call(measured / "phone", measured / "none", "-o", measured / "report")
    with pytest.raises(OutputError, match="exists already"):
        call(measured / "none", "-o", measured / "laptop")  # said before anything is read
    assert call("-o", measured / "report").exit_code == 2
    assert tree(measured) == before


def test_a_report_over_itself(call, measured):
    call(measured / "phone", "-o", measured / "phone", "--force")
    assert results.load(measured / "phone/results.json") == make(**SMALL)
    assert (measured / "phone/report.html").exists()
