"""What is said against figures, by hand."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks.conditions import judge
from edge_moe.benchmarks.wire import Seen


def seen(elapsed=10.0, others=0.0, probe=5.0, throttled=None, **more):
    return Seen(elapsed_s=elapsed, others_s=others, probe_ms=probe, throttled=throttled, **more)


def test_a_quiet_machine():
    found = judge(
        [seen(others=0.4, throttled=0), seen(others=0.6, probe=5.49, throttled=0, load=1.25)], cpus=(1,), load=0.25
    )
    assert (found.cpus, found.load_before, found.probe, found.throttled) == ((1,), 0.25, (5.0, 5.49), 0)
    assert found.others_share == pytest.approx(0.05)
    assert found.load_after == 1.25
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("rounds", "words"),
    [
        ([seen(others=0.2), seen(others=2.8)], "busy: other work took 15% of the CPUs that were measured on; stop it"),
        ([seen(others=99.0)], "busy: other work took 100%"),
        ([seen(probe=5.0), seen(probe=6.0), seen(probe=5.5)], "unsteady: the same computation took 20% longer"),
        ([seen(throttled=2), seen(throttled=None), seen(throttled=5)], "slowed the work down 7 times"),
    ],
    ids=["busy", "very busy", "unsteady", "throttled"],
)
def test_remarks(rounds, words):
    found = judge(rounds)
    (remark,) = found.remarks
    assert words in remark


def test_everything_at_once_is_a_remark_each():
    found = judge([seen(others=5.0), seen(probe=50.0, throttled=1)])
    assert [remark.split(":")[0] for remark in found.remarks] == ["busy", "unsteady", "throttled"]


def test_no_rounds_and_no_time():
    for rounds in ([], [seen(elapsed=0.0, probe=0.0)]):
        found = judge(rounds)
        assert (found.others_share, found.throttled, found.remarks) == (None, None, ())


def test_what_the_target_itself_says_is_said_once():
    rounds = [seen(remarks=("the phone was warm",)), seen(remarks=("the phone was warm",)), None]
    assert judge(rounds, remarks=("crowded",)).remarks == ("crowded", "the phone was warm")


def test_a_target_that_tells_nothing():
    found = judge([None, None])
    assert (found.others_share, found.probe, found.throttled, found.load_after) == (None, (), None, None)
    assert found.remarks == ()
