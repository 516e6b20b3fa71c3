"""edge-moe bench --sustained and --five-runs: what is said, what is refused, and what a stopped run keeps."""

from __future__ import annotations

import csv

import pytest

from edge_moe.benchmarks import results, sustained
from edge_moe.benchmarks.targets.host import session as host
from tests.benchmarks.conftest import hurry
from tests.tiny import tree

FAST = ("--data", "noise", "--images", 4, "--validation-images", 9, "--cold-starts", 0)
ONE_SET = ("--recipe", "litert/int8", "--tau", 0.5)
A_SECOND = ("--sustained", 0.01)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    hurry(monkeypatch)
    monkeypatch.setattr(sustained, "WINDOW_S", 0.25)


def test_without_a_pause(cli, own_bundle, tmp_path):
    out = tmp_path / "report"
    done = cli("bench", own_bundle, *FAST, *ONE_SET, "--rounds", 1, *A_SECOND, "-o", out)
    assert done.code == 0, done.err
    (ran,) = results.load(out).sustained
    first, last = ran.windows[0].median, ran.windows[-1].median
    line = f"sustained for 0.0167 min: litert/int8 {first:.4f} ms in the first 0.25 s, {last:.4f} in the last "
    assert f"{line}({last / first:.2f} times)" in done.out.splitlines()
    with (out / "sustained.csv").open(newline="") as stream:
        assert [float(row["median"]) for row in csv.DictReader(stream)] == [window.median for window in ran.windows]
    assert {str(out / name) for name in ("sustained.csv", "sustained.png")} <= set(done.out.splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


def test_ctrl_c_reports_the_rounds_and_the_same_command_goes_on(cli, own_bundle, tmp_path, monkeypatch):
    out, real = tmp_path / "report", host.HostSession.sustained
    command = ("bench", own_bundle, *FAST, *ONE_SET, "--rounds", 2, *A_SECOND, "-o", out)

    def stopped(self, progress, step):
        raise KeyboardInterrupt

    monkeypatch.setattr(host.HostSession, "sustained", stopped)
    done = cli(*command)
    *before, line = done.err.splitlines()
    assert (done.code, line.startswith("edge-moe: error: stopped after the rounds; ")) == (130, True), done
    assert line.endswith("repeat the command to go on")
    assert [one for one in before if one.startswith("edge-moe: warning: stopped before every set had run for ")]
    assert "PARTIAL" not in done.out and "sustained for" not in done.out
    found = results.load(out)
    assert (found.complete, found.whole, found.rounds, found.sustained) == (True, False, 2, ())

    monkeypatch.setattr(host.HostSession, "sustained", real)
    monkeypatch.setattr(host.HostSession, "round", lambda *_: pytest.fail("measured again"))
    done = cli(*command)
    assert done.code == 0, done.err
    assert "sustained for 0.0167 min: litert/int8 " in done.out
    found = results.load(out)
    assert (found.whole, found.rounds, found.sittings) == (True, 2, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


def test_five_runs(cli, own_bundle, tmp_path):
    out = tmp_path / "report"
    done = cli("bench", own_bundle, *FAST, *ONE_SET, "--five-runs", "-o", out)
    assert done.code == 0, done.err
    found = results.load(out)
    (one,) = found.rounds_apart
    assert (found.rounds, found.five_runs) == (5, True)
    words = f"{'up to' if one.share > 0.05 else 'at most'} {one.share:.1%} apart"
    assert [line for line in done.out.splitlines() if line.startswith(f"five runs: {words}")]
    assert ("edge-moe: warning: five runs: litert/int8 at tau" in done.err) == (one.share > 0.05)
    assert f"| Five runs | {words}" in (out / "results.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sustained", 0], ["sustained is 0", "minutes, more than 0"]),
        (["--sustained", -5], ["sustained is -5", "minutes, more than 0"]),
        (["--sustained", "nan"], ["sustained is nan", "minutes, more than 0"]),
        (
            ["--sustained", 5, "--device", "browser"],
            ["browser does not run predictions without a pause", "host", "ssh"],
        ),
        (["--five-runs", "--rounds", 4], ["rounds is 4", "at least 5"]),
        (["--five-runs", "--device", "arm:cortex-a53"], ["arm:cortex-a53 counts alike", "leave --five-runs away"]),
    ],
)
def test_what_cannot_be_asked_for(cli, own_bundle, tmp_path, options, words):
    cli("bench", own_bundle, *FAST, "-o", tmp_path / "report", *options).refused(2, *words)
    assert tree(tmp_path) == {}
