"""One process at a time makes a target, and the lock goes with it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_moe import lock as module
from edge_moe.errors import OutputError
from edge_moe.lock import acquire, lock_path

HOLD = """
import sys
from pathlib import Path
from edge_moe.lock import acquire
held = acquire(Path(sys.argv[1]), "edge-moe convert")
{more}
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(target: Path, more: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(more=more), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_is_told_who_is_first_and_since_when(tmp_path: Path) -> None:
    target = tmp_path / "t"
    with holder(target) as process:
        words = rf"t is being made by 'edge-moe convert' \(process {process.pid}, since 20\d\d-.* \d\d:\d\d:\d\d\+.*\)"
        for _ in range(2):
            with pytest.raises(OutputError, match=words + "; wait until that is done, or choose another target$"):
                acquire(target, "edge-moe train")
        assert list(tmp_path.iterdir()) == [lock_path(target)]
        acquire(tmp_path / "other", "edge-moe train").release()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    target = tmp_path / "t"
    with holder(target) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lock_path(target).exists()
        acquire(target, "edge-moe train").release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["os.fork() or sys.stdin.read()", "subprocess.Popen(['sleep', '30'])"])
def test_a_child_does_not_keep_it(tmp_path: Path, how: str) -> None:
    """Neither one that was forked, as torch forks what decodes images, nor one that was spawned."""
    target = tmp_path / "t"
    with holder(target, f"import os, subprocess; {how}") as process:
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while True:  # a fork that was just made has not come to closing it yet
            try:
                lock = acquire(target, "edge-moe train")
                break
            except OutputError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert lock.is_held()
        lock.release()


def test_a_child_does_not_lift_it(tmp_path: Path) -> None:
    more = "import os; child = os.fork(); child or (held.release(), os._exit(0)); os.waitpid(child, 0)"
    with holder(tmp_path / "t", more) as process:
        with pytest.raises(OutputError, match=f"process {process.pid}"):
            acquire(tmp_path / "t", "edge-moe train")
        assert lock_path(tmp_path / "t").exists()


def test_it_goes_with_the_folders_that_were_made_for_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    lock = acquire(tmp_path / "a" / "b" / "c" / "t", "edge-moe train")
    assert (tmp_path / "a/b/c").is_dir()
    lock.release()
    lock.release()
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


def test_many_at_once(tmp_path: Path) -> None:
    """Files come and go, and never do two hold the lock."""
    holding, most, refused = [0], [0], [0]
    count = threading.Lock()

    def work() -> None:
        for _ in range(50):
            try:
                lock = acquire(tmp_path / "deep" / "t", "edge-moe train")
            except OutputError:
                refused[0] += 1
                continue
            with count:
                holding[0] += 1
                most[0] = max(most[0], holding[0])
            with count:
                holding[0] -= 1
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert refused[0] < 200
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_file_of_somebody_is_left_alone(tmp_path: Path) -> None:
    lock_path(tmp_path / "t").write_text("years of work")
    with pytest.raises(OutputError, match="is a file that edge-moe did not write"):
        acquire(tmp_path / "t", "edge-moe train")
    assert lock_path(tmp_path / "t").read_text() == "years of work"


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(module.fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_the_number_of_the_process_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge_moe")
    target = tmp_path / "t"
    with holder(target) as process:
        with pytest.raises(OutputError, match=rf"process {process.pid}.*; if it is gone, remove .*\.t\..*\.lock$"):
            acquire(target, "edge-moe train")
        process.kill()
        process.wait()
        lock = acquire(target, "edge-moe train")
        with pytest.raises(OutputError, match=f"process {os.getpid()}"):
            acquire(target, "edge-moe train")
        lock.release()
    assert f"{tmp_path} has no file locks" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_another_error_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        acquire(tmp_path / "file" / "t", "edge-moe train")
