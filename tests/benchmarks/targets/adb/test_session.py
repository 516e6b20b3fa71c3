"""A phone at work, without one: what it is asked, in which order, and what becomes of its answers."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.targets.adb import session, steady
from edge_moe.benchmarks.targets.adb.parts import Answer
from edge_moe.benchmarks.targets.adb.phone import Done
from edge_moe.benchmarks.targets.adb.session import AdbSession, _windows
from edge_moe.benchmarks.targets.adb.state import Cpu, Identity, State
from edge_moe.benchmarks.targets.adb.watch import Watch
from edge_moe.benchmarks.targets.host import Host
from edge_moe.bundle import Bundle
from edge_moe.progress import Silent
from tests.fixtures import JOB

PRICE = {
    "base": 2.0,
    "gate": 0.25,
    "expert_00": 1.0,
    "expert_01": 1.5,
}  # milliseconds; image t takes t thousandths more


class Exact:
    """Stands for Parts: computes as the host, and takes what PRICE says."""

    asked: list

    def __init__(self, contact, name, backend, specs, artifacts, progress):
        self.artifacts, self.place = artifacts, int(name.split("-")[1])

    def send(self, files, progress):
        assert set(files) == set(self.artifacts)

    def run(self, runs, given, cpus, *, keep=False, seconds=0, power=False):
        self.asked.append((self.place, keep, [run.parts for run in runs]))
        times = []
        for run in runs:
            each = [PRICE[part] + run.input_index / 1000 for part in run.parts]
            times += [sum(each)] if run.whole else each
        opening = dict.fromkeys(self.artifacts, 5.0)
        kept = [self.outputs(run) for run in runs] if keep else []
        return Answer(np.array(times), np.empty(0), 7.0, opening, 1 << 24, kept, 1.5 if power else None)

    def outputs(self, run):
        bundle = Bundle(JOB / "bundle")
        artifacts = bundle.manifest.sets[self.place]
        x = np.load(JOB / "inputs.npy")[[run.input_index]]
        base, found = Host().outputs(bundle, artifacts, "base", x), {}
        for part in run.parts:
            given = {"base": x, "gate": base["embedding"]}.get(part, base["features"])
            found[part] = Host().outputs(bundle, artifacts, part, given)
        return found


class Quiet:
    """Stands for Phone and for Contact: everything works."""

    name, serial = "adb", "X"
    done = Done(0, "", "")

    def run(self, command):
        return self.done

    def put(self, files, progress=None):
        pass

    def put_back(self, command):
        pass

    def close(self):
        pass


def now(**changes):
    return State(0, {}, 80, True, {4: Cpu(1024.0, 2400000, 2400000, "x")}, None, "Awake")._replace(**changes)


@pytest.fixture
def states(monkeypatch):
    """What the phone says, in turns; the last for ever."""
    told = [now()]
    for module in (session, steady):
        monkeypatch.setattr(module, "state", lambda phone: told.pop(0) if len(told) > 1 else told[0])
    monkeypatch.setattr(session, "Parts", Exact)
    monkeypatch.setattr(Exact, "asked", [], raising=False)
    monkeypatch.setattr(steady, "_LOOK_S", 0.001)
    return told


def opened(phone=None, **plan):
    job = read_job(JOB)
    job = replace(job, plan=msgspec.structs.replace(job.plan, **plan))
    identity = Identity({"ro.product.model": "P"}, "Features : asimddp", None, "6")
    return AdbSession(job, phone or Quiet(), Quiet(), identity, Silent())


def test_parts_and_predictions_cost_what_they_take(states):
    one = opened(cold_starts=1, rounds=1)
    (line,) = one.rounds(0, Silent(), "timing")
    recorded = read_job(JOB).plan.sets
    for found, planned in zip(line.sets, recorded, strict=True):
        assert found.parts["gate"]["ms"] == pytest.approx([0.25, 0.251, 0.252, 0.253])
        assert found.parts["base"]["ms"][:4] == pytest.approx([2.0, 2.0, 2.001, 2.001])  # twice an image
        assert found.waking["expert_01"]["ms"] == (5.0,)
        assert found.peak_rss_bytes == 1 << 24
        assert len(found.points) == len(planned.settings)
        for point in found.points:
            for image, (cost, ran) in enumerate(zip(point.costs["ms"], point.ran, strict=True)):
                expected = [2.0, *([0.25] if ran is not None else []), *(PRICE[f"expert_{k:02d}"] for k in ran or ())]
                assert cost == pytest.approx(sum(expected) + len(expected) * image / 1000, abs=1e-3)
        assert {ran for point in found.points[:1] for ran in point.ran} <= {(0,), (1,)}  # tau 0: always one
    assert [one.cold_start_ms >= 7.0 + 5.0 + 2.0 for one in line.sets] == [True, True]


def test_sequences_take_turns_in_an_order_of_their_own_each_round(states):
    with opened(cold_starts=0, rounds=8) as one:
        Exact.asked.clear()
        list(one.rounds(0, Silent(), "timing"))
    orders = [(place, tuple(parts)) for place, keep, parts in Exact.asked if not keep]
    assert len(orders) == 16 and len(set(orders)) > 8
    assert len({(place, *sorted(map(repr, parts))) for place, parts in orders}) == 2  # of each set always the same
    assert {tuple(place for place, *_ in Exact.asked[i : i + 2]) for i in range(0, 16, 2)} == {(0, 1), (1, 0)}


def test_it_says_what_it_is(states):
    states[0] = now(thermal=None, cpus={})
    opening = opened(Refusing()).opening
    assert (opening.target, opening.machine.name, opening.cpus) == ("adb", "P", (0,))
    assert [one.partition(":")[0] for one in opening.remarks] == [
        "the phone was not held at one speed",
        "this Android tells no thermal status (10 and later do)",
        "this phone does not tell of its cores",
    ]
    assert opening.machine.facts["fixed performance mode"] == "off"


class Refusing(Quiet):
    done = Done(255, "", "Failed to set FIXED_PERFORMANCE mode\n")


def test_energy_is_watts_times_milliseconds(states):
    states[0] = now(powered=False, watts=1.5)
    one = opened(cold_starts=0, rounds=1)
    (line,) = one.rounds(0, Silent(), "timing")
    assert one.opening.provenance == {"millijoules": "estimated"}
    costs = line.sets[0].parts["gate"]
    assert costs["millijoules"] == pytest.approx([1.5 * ms for ms in costs["ms"]], abs=1e-3)


def test_a_charger_that_is_plugged_in_while_energy_is_measured(states):
    states[0] = now(powered=False, watts=1.5)
    one = opened(cold_starts=0, rounds=1)
    states[:] = [now(powered=True, watts=1.5)]
    with pytest.raises(BackendError, match=r"is being charged now.*unplug it, and repeat the command to go on"):
        next(one.rounds(0, Silent(), "timing"))


def test_a_round_that_was_held_back_is_measured_again(states):
    one = opened(cold_starts=0, rounds=2)
    slow = {4: Cpu(1024.0, 1800000, 1800000, "x")}
    states[:] = [now(), now(thermal=1), now(), now(cpus=slow), now(cpus=slow), now(cpus=slow), now()]
    Exact.asked.clear()
    lines = list(one.rounds(0, Silent(), "timing"))
    assert [line.seen.facts["rounds discarded before"] for line in lines] == [2, 0]
    assert len(Exact.asked) == 2 * (3 + 1)


def test_a_phone_that_is_warm_is_waited_for_and_not_for_ever(states, monkeypatch):
    one = opened(cold_starts=0, rounds=1)
    states[:] = [now(thermal=2), now(thermal=1), now()]
    assert len(list(one.rounds(0, Silent(), "timing"))) == 1
    states[:] = [now(thermal=3)]
    monkeypatch.setattr(steady, "_COOLING_S", 0.0)
    with pytest.raises(BackendError, match=r"adb stays warm: thermal status 3 \(severe\) after 0 minutes; let it cool"):
        next(one.rounds(0, Silent(), "timing"))


def seen(*states):
    """A watch that saw these."""
    watch = Watch(Quiet(), (0,), Silent(), "sustained")
    watch.seen = list(states)
    return watch


def test_windows_of_ten_seconds():
    """A prediction is of the window in which it begins; a last window that is half as long as others is one."""
    begins = np.arange(250) / 10  # 25 s
    times = np.concatenate([np.full(100, 10.0), np.full(100, 20.0), np.full(50, 50.0)])
    found = _windows(begins, times, 25, seen((10.0, {"clock, MHz": 2400}), (20.0, {"clock, MHz": 1200})))
    assert [(one.start_s, one.median, one.count) for one in found] == [(0, 10, 100), (10, 20, 100), (20, 50, 50)]
    assert [one.facts["clock, MHz"] for one in found] == [2400, 1200, 1200]


def test_a_last_window_that_is_too_short_is_left_out():
    begins = np.arange(240) / 10
    assert [one.count for one in _windows(begins, np.ones(240), 24, seen())] == [100, 100]
    assert [one.count for one in _windows(begins[:30], np.ones(30), 3, seen())] == [30]  # the only one
