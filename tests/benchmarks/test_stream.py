"""A target that is another process: what it prints is read line by line, and what it dies of is told."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.stream import Streamed
from edge_moe.progress import Silent

UNITS = '[{"name":"cycles","words":"cycles"}]'
OPENING = f'{{"schema_version":3,"target":"x","units":{UNITS},"machine":{{"name":"x"}},"versions":{{}}}}'
ROUND = '{"sets":[{"parts":{"base":{"cycles":[%d]}}}]}'


def session(program):
    return Streamed([sys.executable, "-S", "-c", program], "a core")


ANSWERS = f"""
print({OPENING!r}, flush=True)
for number in range(int(input()), 4):
    print({ROUND!r} % number, flush=True)
"""


@pytest.mark.parametrize("first", [0, 3, 4])
def test_rounds_begin_with_the_one_that_is_wanted(first):
    with session(ANSWERS) as opened:
        assert opened.opening.target == "x"
        found = [one.sets[0].parts["base"]["cycles"] for one in opened.rounds(first, Silent(), "timing")]
    assert found == [(float(number),) for number in range(first, 4)]


def test_a_round_is_there_while_the_next_is_measured():
    program = ANSWERS.replace("    print", "    import time; time.sleep(60 * (number > 1)); print")
    with session(program) as opened:
        start, rounds = time.monotonic(), opened.rounds(0, Silent(), "timing")
        assert [next(rounds).sets[0].parts["base"]["cycles"] for _ in range(2)] == [(0.0,), (1.0,)]
        assert time.monotonic() - start < 30
    assert opened._line.process.returncode == -9  # it does not go on by itself


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit('no core here')", "a core failed: no core here"),
        ("pass", "a core failed: it said nothing, and it ended with exit code 0"),
        (f"print({OPENING.replace('3', '2', 1)!r})", "a core answers by schema 2; this edge-moe reads 3"),
        ("print('hello')", "a core said what is no opening: .*; report this"),
        (f"print({ROUND!r} % 1)", "a core said what is no opening"),
    ],
)
def test_what_answers_no_job(program, words):
    with pytest.raises(BackendError, match=words):
        session(program)


WINDOW = '{"start_s":0.0,"median":%s,"count":9,"facts":{"heat":1}}'
WAITS = f"""
import json
print({OPENING!r}, flush=True)
while (asked := json.loads(input() or "null")) != "sustained":
    for number in range(asked or 0, 2 if asked is not None else 0):
        print({ROUND!r} % number, flush=True)
print('[{{"set":"x/int8","setting":{{"tau":0.5,"max_experts":1}},"windows":[%s]}}]' % ({WINDOW!r} % 2.5), flush=True)
"""


@pytest.mark.parametrize("first", [0, 1, None])
def test_what_it_answers_without_a_pause_comes_after_the_rounds_or_in_their_place(first):
    with session(WAITS) as opened:
        if first is not None:
            rounds = opened.rounds(first, Silent(), "timing")
            assert [next(rounds).sets[0].parts["base"]["cycles"] for _ in range(2 - first)] == [
                (float(number),) for number in range(first, 2)
            ]
        opened._line.write([b"\n"])  # as there comes one now and then
        (found,) = opened.sustained(Silent(), "sustained")
    assert (found.set, found.setting.tau, found.windows[0].median, found.windows[0].facts) == (
        "x/int8",
        0.5,
        2.5,
        {"heat": 1},
    )


def test_a_process_that_waits_does_not_hold_up_who_has_all_rounds():
    with session(WAITS) as opened:
        rounds, started = opened.rounds(0, Silent(), "timing"), time.monotonic()
        assert len([next(rounds) for _ in range(2)]) == 2
    assert time.monotonic() - started < 30
    assert opened._line.process.returncode == -9


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (WAITS.replace("% 2.5", "% -1"), "a core said what is no sustained run: .*0.0.*; report this"),
        (WAITS.replace("print('[", "print('"), "a core said what is no sustained run"),
        (ANSWERS, "a core failed: "),
        (WAITS.replace("print('[", "raise SystemExit('too hot')  #"), "a core failed: too hot"),
    ],
)
def test_what_fails_without_a_pause(program, words):
    with session(program) as opened, pytest.raises(BackendError, match=words):
        opened.sustained(Silent(), "sustained")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit('it caught fire')", "a core failed: it caught fire"),
        ("import os; os.kill(os.getpid(), 9)", "a core failed: it said nothing, and it ended by signal 9"),
        ("print('{}')", "a core said what is no round"),
    ],
)
def test_what_fails_in_the_middle(program, words):
    with session(ANSWERS.replace("    print", f"    if number == 1: {program}\n    print")) as opened:
        rounds = opened.rounds(0, Silent(), "timing")
        next(rounds)
        with pytest.raises(BackendError, match=words):
            list(rounds)


def test_a_program_that_is_not_there():
    with pytest.raises(BackendError, match="a core cannot be started: /nowhere/runner: No such file"):
        Streamed(["/nowhere/runner"], "a core")


def test_what_it_started_itself_ends_too(tmp_path):
    """As a wrapper that starts an emulator, or goes through a cable, does."""
    program = f"import subprocess, sys; print({OPENING!r}, flush=True); "
    program += (
        f"child = subprocess.Popen(['sleep', '60']); open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); "
    )
    program += "print('{}', flush=True); child.wait()"
    with session(program) as opened:
        opened._line.line()  # it is there
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("it still runs")
