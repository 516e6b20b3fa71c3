"""The bars of the full-size benchmark, held against results worked out by hand; and its command, without measuring."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace

import msgspec
import pytest

from edge_moe.benchmarks.journal import journal_path
from edge_moe.benchmarks.measured import MeasuredPeer, PointCosts
from edge_moe.benchmarks.studies import speed
from edge_moe.bundle import OperatingPoint
from tests.benchmarks.made import make

replace = msgspec.structs.replace

# (tau, exit rate, mean, predicted) of each point; each set has its own taus.
LITERT = ((0.0, 0.0, 4.0, 4.0), (0.1, 0.5, 3.0, 2.9), (1.0, 1.0, 2.06, 2.0))
ONNX = ((0.0, 0.0, 8.0, 7.9), (0.2, 0.5, 5.0, 5.0), (1.0, 1.0, 3.3, 3.2))


def results(litert=LITERT, onnx=ONNX, graphs=((0.2, 3.5),), **changes):
    """Two sets, their bases called raw at 2 and 3 ms, and If graphs of the second at these taus and costs."""
    made = make(sets=(("litert", "int8"), ("onnx", "int8")), taus=(0.0, 0.5, 1.0), timed=3, rounds=2, peers=False)

    def of(points):
        for point, (tau, rate, mean, predicted) in zip(made.sets[0].points, points, strict=True):
            at = replace(point.point, tau=tau, exit_rate=rate)
            assert isinstance(at, OperatingPoint)
            yield PointCosts(point=at, raw=((mean,) * 3,) * 2, predicted=predicted, decided=None)

    def peer(name, backend, ms, tau=None):
        raw = None if ms is None else ((ms,) * 3, (ms,) * 3)
        return MeasuredPeer(name=name, backend=backend, recipe="int8", about="", tau=tau, raw=raw, missing=None)

    peers = [
        peer("base only", "litert", 2.0),
        peer("base only", "onnx", 3.0),
        peer("all experts, always", "onnx", 0.001),
        *(peer("one graph with If", "onnx", ms, tau) for tau, ms in graphs),
    ]
    sets = [
        SimpleNamespace(label=one.label, backend=one.backend, recipe=one.recipe, points=tuple(of(points)))
        for one, points in zip(made.sets, (litert, onnx), strict=True)
    ]
    kept = {name: getattr(made, name) for name in ("machine", "conditions", "rounds", "timed", "threads", "complete")}
    return SimpleNamespace(**kept | {"seed": 0, "sets": sets, "peers": tuple(peers)} | changes)


def test_bars_by_hand():
    found = {bar.what: (round(bar.ratio, 4), bar.bar, bar.met) for bar in speed.judge(results())}
    t = "1 thread, "
    assert found == {
        f"{t}litert/int8: exit path / raw call": (1.03, "<= 1.03", True),
        f"{t}onnx/int8: exit path / raw call": (1.1, "<= 1.03", False),
        f"{t}litert/int8, exit rate 0%: mean / sum of parts": (1.0, "<= 1.03", True),
        f"{t}litert/int8, exit rate 50%: mean / sum of parts": (1.0345, "<= 1.03", False),
        f"{t}litert/int8, exit rate 100%: mean / sum of parts": (1.03, "<= 1.03", True),
        f"{t}onnx/int8, exit rate 0%: mean / sum of parts": (1.0127, "<= 1.03", True),
        f"{t}onnx/int8, exit rate 50%: mean / sum of parts": (1.0, "<= 1.03", True),
        f"{t}onnx/int8, exit rate 100%: mean / sum of parts": (1.0312, "<= 1.03", False),
        # At the second set's tau 0.2 the first set has its own second tau.
        f"{t}exit rate 50%: litert/int8 / If graph of onnx/int8": (0.8571, "<= 1", True),
        f"{t}exit rate 50%: onnx/int8 / If graph of onnx/int8": (1.4286, "<= 1", False),
    }


def test_graphs_that_were_not_measured_have_no_bar():
    assert not any("graph" in bar.what for bar in speed.judge(results(graphs=((0.2, None), (None, 3.0)))))
    bars = speed.judge(results(graphs=((0.0, 9.0), (1.0, 3.0)), threads=2))
    several = [bar.what.split(":")[0] for bar in bars if "graph" in bar.what]
    assert several == ["2 threads, exit rate 0%"] * 2 + ["2 threads, exit rate 100%"] * 2


def points(*means):
    return tuple((0.1 * i, 0.1 * i, mean, mean) for i, mean in enumerate(means))


@pytest.mark.parametrize(
    ("second", "opposite"),
    [
        (((4.0, 3.0, 2.0), (8.0, 6.0, 5.0)), 0),
        (((40.0, 30.0, 20.0), (80.0, 60.0, 50.0)), 0),  # another speed is not another order
        (((4.0, 3.0, 3.08), (8.0, 6.0, 5.0)), 0),  # the other way, but nearer than 3%
        (((4.0, 2.9, 3.1), (8.0, 6.0, 5.0)), 1),
        (((2.0, 3.0, 4.0), (8.0, 6.0, 5.0)), 3),
        (((4.0, 3.0, 2.0), (8.0, 6.0, 3.5)), 1),  # the last of the second set before the first of the first
        (((8.0, 6.0, 5.0), (4.0, 3.0, 2.0)), 9),  # every pair across the sets, none inside of one
    ],
)
def test_pairs_that_two_runs_rank_the_other_way(second, opposite):
    first = results(points(4.0, 3.0, 2.0), points(8.0, 6.0, 5.0))
    bar = speed.rank_alike(first, results(*(points(*means) for means in second)))
    assert (bar.ratio, bar.bar, bar.met) == (opposite, "<= 0", opposite == 0)
    assert bar.what == "two runs: pairs of 6 operating points ranked the other way, of 15"


def test_nearer_than_three_hundredths_in_the_first_run_is_no_order_either():
    first = results(points(2.0, 2.05, 9.0), points(20.0, 30.0, 40.0))
    second = results(points(3.0, 2.0, 9.0), points(20.0, 30.0, 40.0))
    assert speed.rank_alike(first, second).ratio == 0
    assert speed.rank_alike(second, first).ratio == 0


def test_the_page():
    busy = dataclasses.replace(results().conditions, remarks=("busy: x",))
    runs = [results(), results(threads=2, conditions=busy)]
    found = [bar for run in runs for bar in speed.judge(run)]
    page = speed.to_markdown(runs, found)
    assert "UNTRAINED" in page.splitlines()[0]
    assert "A chip (avx2), 2 rounds of 3 images." in page
    assert "Run 1, 1 thread(s): quiet.\nRun 2, 2 thread(s): busy: x.\n" in page
    for bar in found:
        assert f"| {bar.what} | {bar.ratio:.3f} | {bar.bar} | {'yes' if bar.met else 'NO'} |" in page


def encoded(run):
    """What a run is told apart by, in place of the whole."""
    return json.dumps({"threads": run.threads, "seed": run.seed}).encode()


@pytest.fixture
def command(monkeypatch, tmp_path):
    """command(*arguments) -> what was asked for; `sweep` gives what is in `command.runs`, in turn."""
    out = tmp_path / "out"

    def call(*arguments):
        asked, runs = [], iter(call.runs)

        def check(bundle, data, options):
            asked.append((bundle, data, options))
            return SimpleNamespace(key=lambda: options)

        def sweep(request, *, journal, progress):
            journal.put("round-0000", 1)
            return next(runs)

        def bundle(folder, experts, progress, backends):
            return folder / f"bundle-{experts}-{'-'.join(backends)}"

        monkeypatch.setattr(speed, "full_size_bundle", bundle)
        monkeypatch.setattr(speed, "full_size_checkpoint", lambda folder, experts: folder / f"checkpoint-{experts}")
        monkeypatch.setattr(speed, "check", check)
        monkeypatch.setattr(speed, "sweep", sweep)
        monkeypatch.setattr(speed, "msgspec", SimpleNamespace(json=SimpleNamespace(encode=encoded)))
        monkeypatch.setattr(speed, "write_report", lambda runs, folder, force: asked.append((len(runs), folder, force)))
        monkeypatch.setattr(sys, "argv", ["speed", "-o", str(out), *arguments])
        try:
            speed.main()
        finally:
            call.asked = asked
        return asked

    call.out = out
    return call


def test_the_command(command, capsys):
    command.runs = [results(), results(seed=5), results(threads=2)]
    *sweeps, report = command("--rounds", "3", "--experts", "2")
    assert [(options.threads, options.rounds, options.peers) for _, _, options in sweeps] == [
        (1, 3, True),
        (1, 3, True),
        (2, 3, True),
    ]
    out = command.out
    for bundle, data, options in sweeps:
        assert (bundle, data) == (out / "bundle-2-litert-onnx-executorch", "noise")
        assert options.checkpoint == str(out / "checkpoint-2")
        assert [recipe.split("/")[0] for recipe in options.recipes] == ["litert", "onnx", "executorch"]
    assert report == (3, out / "report", True)
    for i, run in enumerate(command.runs, 1):
        stored = json.loads((out / f"run-{i}/results.json").read_text())
        assert (stored["threads"], stored["seed"]) == (run.threads, run.seed)
        assert not journal_path(out / f"run-{i}").exists()
    page = (out / "speed.md").read_text()
    assert page.count("pairs of 6 operating points") == 1  # of the two runs on one thread
    assert "| 2 threads, litert/int8: exit path / raw call | 1.030 | <= 1.03 | yes |" in page
    assert capsys.readouterr().out == page + "\n"


def test_one_run_has_nothing_to_be_compared_with(command):
    command.runs = [results()]
    command("--threads", "4")
    assert command.asked[0][2].threads == 4
    assert "two runs" not in (command.out / "speed.md").read_text()


def test_ctrl_c_stops_all_runs_and_keeps_what_there_is(command):
    command.runs = [results(complete=False), results()]
    with pytest.raises(KeyboardInterrupt):
        command()
    assert len(command.asked) == 1
    assert (journal_path(command.out / "run-1") / "round-0000.json").exists()
    assert not (command.out / "run-1").exists()
