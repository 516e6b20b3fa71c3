"""The pool of processes, really: what it is given, how it ends, and what it says of processes that end before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from edge_moe import orphans
from edge_moe.errors import DataError, MissingExtraError
from edge_moe.pool import Pool, WorkerLost, python
from edge_moe.progress import Silent
from edge_moe.worker import reports

ROOT = Path(__file__).parents[1]

# --- what the processes do ---


_began_with = None


def begin(*arguments):
    global _began_with
    _began_with = arguments


def began_with():
    return _began_with


def who(_number):
    time.sleep(0.05)  # so that the other process has something to do too
    return os.getpid()


def fail(error):
    raise error


def leave():
    raise SystemExit(0)


class Strange(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def strange():
    raise Strange("one", "two")


def count(name, most):
    report = reports()
    report.start(name, most)
    for number in range(most):
        report.advance(name, f"note {number}")
    return os.environ["TMPDIR"]


def end(how):
    print("first words\nlast \N{SNOWMAN} words\n", flush=True)
    os._exit(how) if how >= 0 else os.kill(os.getpid(), -how)


def hog():
    raise MemoryError


def sleep(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


def masks():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def fork_and_die():
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
    os._exit(7)


def results(pool):
    found = []
    while finished := pool.wait():
        found += [future.result() for future in finished]
    return found


# --- work ---


def test_processes_share_the_work_and_are_gone_at_the_end():
    with Pool(2) as pool:
        for number in range(8):
            pool.submit(who, number)
        found = results(pool)
        assert len(found) == 8
        assert set(found) <= {child.pid for child in psutil.Process().children()}
        assert 1 <= len(set(found)) <= 2
    assert psutil.Process().children() == []
    assert pool.ended == []  # none was at work


def test_more_can_be_submitted_meanwhile_and_what_waits_be_cancelled():
    with Pool(1, begin, (1, "two")) as pool:
        first, second, third = (pool.submit(began_with) for _ in range(3))
        assert pool.wait() == [first]
        assert first.result() == (1, "two")
        assert third.cancel()
        fourth = pool.submit(who, 0)
        assert pool.wait() == [second]
        assert pool.wait() == [fourth]
        assert pool.wait() == []


class Steps:
    def __init__(self):
        self.said = []

    def start(self, name, total, done=0):
        self.said.append((name, total, done))

    def advance(self, name, note=""):
        self.said.append((name, note))


def test_reports_arrive_in_order_and_a_tool_s_temporary_folder_goes_with_the_pool():
    steps = Steps()
    with Pool(1, progress=steps) as pool:
        pool.submit(count, "step", 3)
        (folder,) = results(pool)
        assert Path(folder).is_dir()
    assert steps.said == [("step", 3, 0), *(("step", f"note {i}") for i in range(3))]
    assert not Path(folder).exists()


def test_signals_of_a_terminal_are_the_first_process_s_to_answer():
    with Pool(1) as pool:
        pool.submit(masks)
        assert {signal.SIGINT, signal.SIGTERM} <= results(pool)[0]
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_script_without_a_guard_works(tmp_path):
    """It is not run again in each process, which would start processes of its own, and so on."""
    script = tmp_path / "script.py"
    script.write_text(
        "from edge_moe.pool import Pool\nfrom tests.test_pool import results, who\n"
        "with Pool(1) as pool:\n    pool.submit(who, 0)\n    print('got', len(results(pool)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "got 1\n", "")


# --- errors ---


@pytest.mark.parametrize("error", [DataError("no image"), MissingExtraError("onnx", "convert", "this")])
def test_an_error_of_ours_arrives_as_it_is(error):
    with Pool(1) as pool:
        pool.submit(fail, error)
        with pytest.raises(type(error)) as caught:
            results(pool)
    assert (str(caught.value), getattr(caught.value, "__notes__", [])) == (str(error), [])


def test_another_error_says_where_it_was_raised():
    with Pool(1) as pool:
        pool.submit(fail, ValueError("a bug"))
        with pytest.raises(ValueError, match="a bug") as caught:
            results(pool)
    assert "in fail" in caught.value.__notes__[0]


@pytest.mark.parametrize(("do", "words"), [(strange, "Strange: one and two"), (leave, "SystemExit: 0")])
def test_an_error_that_cannot_arrive_is_told_in_words(do, words):
    with Pool(1) as pool:
        pool.submit(do)
        with pytest.raises(RuntimeError, match=words):
            results(pool)


# --- processes that end before their work is done ---


@pytest.mark.parametrize(
    ("how", "words", "memory"),
    [
        (-signal.SIGKILL, "was killed, ended from outside by SIGKILL, perhaps for lack of memory", True),
        (-signal.SIGSEGV, "crashed (SIGSEGV: Segmentation fault)", False),
        (-signal.SIGABRT, "crashed (SIGABRT: Aborted)", False),
        (3, "ended by itself, with exit code 3", False),
    ],
)
def test_how_a_process_ended(how, words, memory, capfd):
    with pytest.raises(WorkerLost) as caught, Pool(2) as pool:
        pool.submit(end, how)
        pool.submit(who, 0)
        results(pool)
    assert (str(caught.value), caught.value.memory) == (words, memory)
    assert caught.value.words == "last \N{SNOWMAN} words"
    assert tuple(capfd.readouterr()) == ("", "")  # nothing beside the one line that is made of this
    assert psutil.Process().children() == []


def test_want_of_memory_that_python_notices():
    with pytest.raises(WorkerLost, match="ran out of memory") as caught, Pool(1) as pool:
        pool.submit(hog)
        results(pool)
    assert caught.value.memory


def test_a_process_that_left_a_fork_behind_is_missed_all_the_same():
    """The fork has the connection still, so that it does not close."""
    with pytest.raises(WorkerLost, match="exit code 7"), Pool(1) as pool:
        pool.submit(fork_and_die)
        results(pool)


def test_a_long_log_keeps_what_a_process_said(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"of an earlier one\n")
    with pytest.raises(WorkerLost), Pool(1, log=log) as pool:
        pool.submit(end, 3)
        results(pool)
    assert log.read_text() == "of an earlier one\nfirst words\nlast \N{SNOWMAN} words\n\n"


def test_an_exception_here_ends_what_runs_at_once(tmp_path):
    class Stop(Silent):
        def advance(self, name, note=""):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Pool(2, progress=Stop()) as pool:
        pool.submit(sleep, tmp_path)
        pool.submit(count, "step", 1)
        start = time.monotonic()
        results(pool)
    assert time.monotonic() - start < 60
    assert psutil.Process().children() == []
    assert len(pool.ended) == 2


# --- orphans ---

PARENT = """
import sys
sys.path.insert(0, {root!r})
from edge_moe.pool import Pool, python
from tests.test_pool import sleep
with python("import time; time.sleep(600)"), Pool(2) as pool:
    print("started", flush=True)
    for _ in range(2):
        pool.submit(sleep, {folder!r})
    pool.wait()
"""


@pytest.mark.parametrize("at_work", [False, True])
def test_a_killed_process_leaves_no_others(tmp_path, at_work):
    """Neither ones that work nor ones that have just begun to start."""
    code = PARENT.format(root=str(ROOT), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"started\n"
            deadline = time.monotonic() + 60
            there = psutil.Process(process.pid).children()
            while len(there) < 3 or (at_work and len(list(tmp_path.iterdir())) < 2):
                assert time.monotonic() < deadline
                there = psutil.Process(process.pid).children()
        finally:
            process.kill()
    assert psutil.wait_procs(there, timeout=10)[1] == []
    assert len(list(tmp_path.iterdir())) == 2 * at_work  # nor did one write before it went


def looking(parent: str) -> str:
    """Return a program that ends with `parent`, where no kernel does it."""
    return textwrap.dedent(f"""
        import sys, time
        from edge_moe import orphans
        orphans._kernel_does_it = lambda: False
        orphans.end_with_parent({parent})
        print("here", flush=True)
        time.sleep(600)
    """)


def test_where_the_kernel_does_not_do_it_a_thread_looks():
    outer = (
        f"import os, subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {looking('int(sys.argv[1])')!r}, "
    )
    outer += "str(os.getpid())])\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"here\n"
        (child,) = psutil.Process(process.pid).children()
        process.kill()
    assert psutil.wait_procs([child], timeout=10)[1] == []


def test_who_was_an_orphan_before_it_asked_ends_at_once():
    done = subprocess.run([sys.executable, "-c", looking("1 if __import__('os').getppid() != 1 else 2")], timeout=60)
    assert done.returncode == 1
    assert orphans._LOOK_S <= 1


def test_a_python_of_its_own_is_ended_with_its_block():
    with pytest.raises(KeyboardInterrupt), python("print(1, flush=True); import time; time.sleep(600)") as process:
        assert process.stdout.readline() == b"1\n"
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGKILL
    with python("import sys; print(sys.argv[1:])", "a b") as process:
        assert process.communicate() == (b"['a b']\n", b"")
    assert process.returncode == 0


def test_a_python_of_its_own_finds_what_this_one_finds(tmp_path, monkeypatch):
    """A backend that is registered from a folder which only `sys.path` names."""
    (tmp_path / "only_there.py").write_text("print('found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with python("import only_there") as process:
        assert process.communicate() == (b"found\n", b"")
