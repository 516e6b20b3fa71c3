"""Ctrl-C and SIGTERM at every moment: one line, an exit code, and nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edge_moe.cli import stopping
from edge_moe.cli.stopping import Stop
from tests.cli.conftest import PROGRESS

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
UNTOUCHED = "edge-moe: error: stopped; what was there before is untouched\n"
GOES_ON = f"{UNTOUCHED.strip()}, and what was made so far is kept: repeat the command to go on\n"

# The command line as the installed script runs it; INSPECT is what `edge-moe inspect` does.
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background does not have
BEFORE
from edge_moe.cli import main
sys.argv = ["edge-moe", "inspect", "bundle"]
import edge_moe.bundle
from edge_moe.cli.stopping import stop
def inspect(self, path):
    INSPECT
edge_moe.bundle.Bundle.__init__ = inspect
main()
"""


def program(inspect: str = "", before: str = "") -> list[str]:
    lines = "\n".join(f"    {line}" for line in inspect.splitlines())
    return [sys.executable, "-c", PROGRAM.replace("BEFORE", before).replace("    INSPECT", lines or "    pass")]


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program(*command), capture_output=True, text=True, timeout=120, **options)


# --- the moment is known ---


@pytest.mark.parametrize("signalled", CODES)
@pytest.mark.parametrize("module", ["edge_moe.cli.app", "typer", "rich.table", "edge_moe.gains"])
def test_while_something_is_imported(module, signalled):
    """Even if what imports takes every exception for a library that is not there."""
    before = f"""
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {signalled:d})
sys.meta_path.insert(0, Finder())
"""
    done = run("", before)
    assert (done.returncode, done.stdout, done.stderr) == (CODES[signalled], "", UNTOUCHED)


@pytest.mark.parametrize("signalled", CODES)
@pytest.mark.parametrize(
    "work",
    [
        "os.kill(os.getpid(), HOW)",
        # Where Python drops exceptions.
        "class Late:\n    def __del__(self): os.kill(os.getpid(), HOW); time.sleep(0)\nLate()\ntime.sleep(600)",
        # What a library makes of it.
        "try: os.kill(os.getpid(), HOW); time.sleep(60)\nexcept BaseException: raise RuntimeError('no')",
        "try: os.kill(os.getpid(), HOW); time.sleep(60)\nexcept BaseException:\n"
        "    from edge_moe import BackendError\n    raise BackendError('no answer') from None",
        # Again and again, the first time while the command clears up.
        "try: os.kill(os.getpid(), HOW); time.sleep(60)\nfinally:\n    for _ in range(3): os.kill(os.getpid(), HOW)",
    ],
)
def test_while_a_command_is_at_work(work, signalled):
    done = run(work.replace("HOW", f"{signalled:d}"))
    assert (done.returncode, done.stdout, done.stderr) == (CODES[signalled], "", UNTOUCHED)


def test_what_goes_wrong_after_a_command_made_the_best_of_it_is_said():
    """As of the report, when rounds were kept."""
    work = "try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\nexcept KeyboardInterrupt: pass\n"
    work += "from edge_moe import OutputError\nwith stop.going_on(lambda: True): raise OutputError('no space left')"
    done = run(work)
    assert (done.returncode, done.stderr) == (130, f"{GOES_ON.strip()}; no space left\n")


@pytest.mark.parametrize("moment", ["'result' and os.kill(os.getpid(), signal.SIGINT)", "'t' and 0"])
def test_a_target_that_has_its_name_stands(tmp_path, moment):
    """From the moment on at which it was renamed, and though more is done, and kept, after that."""
    work = f"""
from pathlib import Path
from edge_moe.work import making
rename = Path.rename
def interrupted(self, other):
    rename(self, other)
    self.name == {moment}
Path.rename = interrupted
with making(Path("t"), "test", force=True) as work, stop.going_on(lambda: True):
    (work.fresh() / "manifest.json").write_text("new")
    work.publish()
os.kill(os.getpid(), signal.SIGINT)
"""
    (tmp_path / "t").mkdir()
    (tmp_path / "t/manifest.json").write_text('{"schema_version": 1}')
    done = run(work, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "edge-moe: error: stopped; t stands\n")
    assert (tmp_path / "t/manifest.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_after_the_command():
    """On the way out: nothing is caught any more there."""
    before = "import atexit\natexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))"
    done = run("from edge_moe import DataError\nraise DataError('no image')", before)
    assert (done.returncode, done.stderr) == (130, f"edge-moe: error: no image\n{UNTOUCHED}")


@pytest.mark.parametrize(("keeps", "words"), [("True", GOES_ON), ("False", UNTOUCHED), ("open('no/file')", UNTOUCHED)])
def test_repeating_goes_on_where_something_is_kept(keeps, words):
    done = run(f"with stop.going_on(lambda: {keeps}): os.kill(os.getpid(), signal.SIGINT)")
    assert (done.returncode, done.stderr) == (130, words)
    done = run(f"with stop.going_on(lambda: {keeps}): pass\nos.kill(os.getpid(), signal.SIGINT)")
    assert (done.returncode, done.stderr) == (130, UNTOUCHED)


def test_a_signal_that_is_ignored_stays_ignored():
    ignoring = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    done = run("os.kill(os.getpid(), signal.SIGINT)\nprint('goes on', flush=True)\nos._exit(5)", ignoring)
    assert (done.returncode, done.stdout, done.stderr) == (5, "goes on\n", "")


def test_a_fork_leaves_the_signal_to_its_parent():
    work = """
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(6)
"""
    done = run(work)
    assert (done.returncode, done.stdout, done.stderr) == (6, "5\n", "")


def test_only_imports_are_imports():
    assert not stopping._imports(sys._getframe())
    assert not stopping._imports(None)


def test_nothing_is_known_before():
    one = Stop()
    assert (one.is_heard, one.exit_code, one.words) == (False, 130, "stopped; what was there before is untouched")


# --- from outside ---


def signalled_from_outside(command, how, *, times=1, gap_s=0.1):
    """Send the signal `how` when the process says that it is ready; return its code, stderr and how long it took."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            start = time.monotonic()
            for number in range(times):
                time.sleep(gap_s * (number > 0))
                process.send_signal(how)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, err, time.monotonic() - start


# Ready only inside of `try`: a signal may come before the next line is begun.
STUBBORN = "try:\n    print('ready', flush=True)\n    time.sleep(60)\nfinally:\n    time.sleep(CLEARS)"


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_comes_within_a_second_is_one(times):
    code, err, took = signalled_from_outside(program(STUBBORN.replace("CLEARS", "0.5")), signal.SIGINT, times=times)
    assert (code, err) == (130, UNTOUCHED)
    assert 0.5 < took < 20


def test_a_command_that_does_not_come_to_an_end_is_ended():
    command = program(STUBBORN.replace("CLEARS", "50"))
    code, err, took = signalled_from_outside(command, signal.SIGINT, times=2, gap_s=1.1)
    assert (code, err) == (130, UNTOUCHED)
    assert took < 20


def test_the_processes_of_a_command_end_with_it():
    """Also where it does not come to clearing up."""
    work = """
from edge_moe.pool import python
with python("import time; time.sleep(600)") as child:
    print(child.pid, file=sys.stderr, flush=True)
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        time.sleep(60)
"""
    code, err, _ = signalled_from_outside(program(work), signal.SIGTERM, times=2, gap_s=1.1)
    child, line = err.splitlines()
    assert (code, line + "\n") == (143, UNTOUCHED)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(child)) and psutil.Process(int(child)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("group", [False, True], ids=["main process alone", "all processes, as a terminal does"])
def test_a_conversion_is_stopped(own_checkpoint, tiny_images, tmp_path, group):
    """The real one, while its processes are at work or start: they are not waited for."""
    command = ["convert", own_checkpoint, "--data", tiny_images, "-o", tmp_path / "bundle", "--backend", "onnx"]
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.argv = {['edge-moe', *map(str, command)]}\nfrom edge_moe.cli import main\nmain()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    with process:
        try:
            deadline = time.monotonic() + 120
            while not (children := psutil.Process(process.pid).children()):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            start = time.monotonic()
            (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert time.monotonic() - start < 5  # on a machine that does other things; alone it is a fraction of a second
    assert psutil.wait_procs(children, timeout=5)[1] == []
    said = [line for line in err.decode().splitlines() if not PROGRESS.fullmatch(line)]
    assert said == [UNTOUCHED.strip()]
    assert list(tmp_path.iterdir()) == []
