"""The one pool of processes: they end with the process that started them, and say why when they end before.

    with Pool(2, start, (what, it, needs)) as pool:
        futures = {pool.submit(do, job): job for job in jobs}
        while finished := pool.wait():
            for future in finished:
                future.result()

A process is a fresh Python that imports what it is sent (worker.py), never the script of the user, which so needs no
`if __name__ == "__main__"`. There are neither threads nor semaphores nor a helper process: the process that asks waits
for all, in `Pool.wait`, and leaves it when a signal comes; what runs then is killed, not waited for. SIGINT and SIGTERM
come to all processes at once from a terminal or a service manager; the first one answers them, the others block them.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO, Any

from edge_moe.errors import EdgeMoeError
from edge_moe.progress import Progress, Silent

__all__ = ["Pool", "WorkerLost", "also_ends", "ended", "kill_all", "python"]

_BEGIN = "import sys; sys.path[:] = sys.argv[3:]; from edge_moe.worker import work; work(*map(int, sys.argv[1:3]))"
_LOOK_S = 1.0
_LONGEST = 200
_END_S = 5.0  # that a process has to end in once it does not answer any more
_STOPS = {signal.SIGINT, signal.SIGTERM}

_running: set[subprocess.Popen[bytes]] = set()  # of this process, those of all pools and others


class WorkerLost(Exception):
    """A process ended before its work was done; `str()` says how, after "a process that ..."."""

    def __init__(self, how: str, *, memory: bool = False, words: str = "") -> None:
        """`memory`: want of it is the likely cause. `words`: the last line that the process wrote, if it wrote one."""
        super().__init__(how)
        self.memory, self.words = memory, words


class _Worker:
    """A process and the way to it."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Connection) -> None:
        self.process, self.channel = process, channel
        self.future: Future[Any] | None = None  # what it works at


class Pool:
    """Up to `processes` processes, started when there is work for them and ended when the block is left."""

    def __init__(
        self,
        processes: int,
        start: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
        *,
        log: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare a pool; each of its processes begins with `start(*arguments)`.

        Args:
            processes: at most so many at once.
            start: has a module that can be imported, as all that is submitted.
            arguments: pickled.
            log: where the processes' stdout and stderr go, those of native code too; None: nowhere.
            progress: is told what the processes tell their `reports()`.
        """
        self._processes, self._progress = processes, progress or Silent()
        self._start = pickle.dumps((start, arguments))
        self._queue: deque[tuple[Future[Any], bytes]] = deque()
        self._workers: list[_Worker] = []
        self._log_file, self._open = log, ExitStack()
        self.ended: list[int] = []  # the ids of the processes that were ended at their work

    def submit(self, do: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Return what will be `do(*arguments)`, done while `wait` is called; it can be cancelled until it begins."""
        future: Future[Any] = Future()
        self._queue.append((future, pickle.dumps((do, arguments))))
        return future

    def wait(self) -> list[Future[Any]]:
        """Let the processes work until something is finished, and return that; nothing if all is.

        Raises:
            WorkerLost: a process ended before its work was done.
        """
        self._give_work()
        while busy := {worker.channel: worker for worker in self._workers if worker.future is not None}:
            finished = []
            heard = wait(list(busy), _LOOK_S)
            # Its connection stays open where a process that it forked has it still.
            gone = [worker for worker in busy.values() if worker.process.poll() is not None] if not heard else []
            for worker in (*gone, *(busy[channel] for channel in heard)):  # type: ignore[index]
                future = worker.future
                if future is not None and self._heard(worker, future):
                    worker.future = None
                    finished.append(future)
            if finished:
                self._give_work()
                return finished
        return []

    def _give_work(self) -> None:
        idle = [worker for worker in self._workers if worker.future is None]
        while self._queue and (idle or len(self._workers) < self._processes):
            future, work = self._queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            worker = idle.pop() if idle else self._new()
            worker.future = future
            self._send(worker, work)

    def _new(self) -> _Worker:
        mine, its = Pipe()
        with its, _signals_later():
            process = subprocess.Popen(
                [sys.executable, *_flags(), "-c", _BEGIN, str(its.fileno()), str(os.getpid()), *map(str, sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[its.fileno()],
                env=self._environment,
            )
            _running.add(process)
            worker = _Worker(process, mine)
            self._workers.append(worker)
        self._send(worker, pickle.dumps(sys.argv))
        self._send(worker, self._start)
        return worker

    def _send(self, worker: _Worker, message: bytes) -> None:
        with suppress(OSError):  # it is gone; what it was sent to do tells, in `_heard`
            worker.channel.send_bytes(message)

    def _heard(self, worker: _Worker, future: Future[Any]) -> bool:
        """Take one message of `worker`; return whether that was its last about `future`."""
        try:
            if worker.process.poll() is not None and not worker.channel.poll():
                raise EOFError
            kind, *what = pickle.loads(worker.channel.recv_bytes())
        except (EOFError, OSError):
            raise self._lost(worker) from None
        if kind == "report":
            getattr(self._progress, what[0])(*what[1:])
            return False
        if kind == "done":
            future.set_result(what[0])
        else:
            error, text = what
            if isinstance(error, MemoryError):
                raise WorkerLost("ran out of memory", memory=True, words=self._last_words())
            if not isinstance(error, EdgeMoeError):
                error.add_note(f"In a process of its own:\n{text}")
            future.set_exception(error)
        return True

    def _lost(self, worker: _Worker) -> WorkerLost:
        try:
            code = worker.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return WorkerLost("does not answer", words=self._last_words())
        if code >= 0:
            return WorkerLost(f"ended by itself, with exit code {code}", words=self._last_words())
        if -code == signal.SIGKILL:
            how = "was killed, ended from outside by SIGKILL, perhaps for lack of memory"
            return WorkerLost(how, memory=True, words=self._last_words())
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return WorkerLost(f"crashed ({name}: {signal.strsignal(-code) or 'unknown'})", words=self._last_words())

    def _last_words(self) -> str:
        """Return the last line that a process wrote; "" if none did."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:_LONGEST] if lines else ""

    def __enter__(self) -> Pool:
        """Return this pool, to which work can be given now."""
        file = self._log_file
        self._log: IO[bytes] = self._open.enter_context(file.open("a+b") if file else tempfile.TemporaryFile("a+b"))
        # What a tool that is killed leaves in its temporary folder goes with this one.
        folder = tempfile.TemporaryDirectory(prefix="edge-moe-", ignore_cleanup_errors=True)
        self._environment = {**os.environ, "TMPDIR": self._open.enter_context(folder)}
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes; what they are at is lost."""
        for worker in self._workers:
            if worker.future is not None:
                self.ended.append(worker.process.pid)
            worker.process.kill()
        for worker in self._workers:
            worker.channel.close()
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(_END_S)
            _running.discard(worker.process)
        self._open.close()


def also_ends(process: subprocess.Popen[bytes]) -> None:
    """Let a process that was started elsewhere be among those that `kill_all` ends."""
    _running.add(process)


def ended(process: subprocess.Popen[bytes]) -> None:
    """Forget a process of `also_ends`: it has ended."""
    _running.discard(process)


def kill_all() -> None:
    """End every process that this one started here, at once: it is about to end itself."""
    for process in list(_running):
        process.kill()


@contextmanager
def python(program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `program` with `arguments` in a Python of its own, stdout and stderr in pipes without buffers.

    It is ended when the block is left, and ends with this process. It looks for modules where this one does.
    """
    begin = f"import sys; sys.path[:] = {sys.path!r}\nfrom edge_moe.orphans import end_with_parent"
    watched = f"{begin}\nend_with_parent({os.getpid()})\n{program}"
    with _signals_later():
        process = subprocess.Popen(
            [sys.executable, "-c", watched, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # into one, the first line that is read would draw those that follow
        )
        _running.add(process)
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        _running.discard(process)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Block SIGINT and SIGTERM in the block: a process that is started in it has them blocked for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _flags() -> list[str]:
    """Return the options that this Python was started with, -W and -X among them."""
    found: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return found
