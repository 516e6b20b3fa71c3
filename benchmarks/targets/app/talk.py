"""A sweep in the app, asked for and answered through the files of one folder on the phone.

The app makes the folder when it is started, in its own files, where adb's shell reads and writes as well. A thread says
in it every few seconds that this computer is there; the app does the same, and otherwise each ends by itself.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from edge_moe.benchmarks.line import BEAT_S, SILENCE_S
from edge_moe.benchmarks.targets.adb.files import Files
from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.benchmarks.targets.app.installed import INSTALL, PACKAGE
from edge_moe.benchmarks.targets.app.said import ASK, ROUNDS, STATE, Ask, State, read_state
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["SWEEPS", "Talk"]

SWEEPS = f"/sdcard/Android/data/{PACKAGE}/files/sweeps"
_START = f"am start -n {PACKAGE}/.SweepActivity -a {PACKAGE}.SWEEP --es job"
_START_S = 30.0  # until the app has said that it is there
_END_S = 10.0  # until it has cleaned up
_BUSY_S = SILENCE_S + 15  # until another sweep of the app, whose computer is gone, has ended
_LOOK_S = (0.2, 2.0)  # at first, and at most: looking takes some time of the phone's
_LATE_S = (0.0, 0.2, 1.0, 2.0)  # what the app wrote may be seen late, through a cache
_REPEAT = "repeat the command to go on"


class Talk:
    """See the module."""

    def __init__(self, phone: Phone, progress: Progress, owned: Callable[[str], None]) -> None:
        """Start a sweep of the app, which then waits for its job.

        Args:
            phone: where the app is installed.
            progress: told when another sweep is waited for.
            owned: is told of each folder before it is made.

        Raises:
            BackendError: the app cannot be started, does not answer, or is busy; says what to do.
        """
        self._phone, self._lines = phone, 0
        self._writing, self._over = threading.Lock(), threading.Event()
        self._ask = Ask(beat=0, line=0, what="round", round=0)
        self._silent = False  # whether the app says nothing any more
        self._begin(progress, owned)
        self._beating = Phone(phone.name, phone.serial)  # a connection of the thread's own
        threading.Thread(target=self._beat, daemon=True).start()

    def send(self, files: Mapping[str, bytes], progress: Progress) -> None:
        """Write the job into the folder.

        Raises:
            BackendError: no space, or the phone is gone.
        """
        try:
            Files(self._phone, self.folder).put(files, progress)
        except BackendError:
            if self._has_ended(self._phone):
                raise self._gone("it ended while the job was sent") from None
            raise

    def opened(self) -> bytes:
        """Have the job opened, and return the opening: the first line."""
        return self._answer(Ask(beat=0, line=1, what="round", round=0))

    def round(self, number: int) -> bytes:
        """Have a round measured, and return its line; raises as `sustained`."""
        return self._answer(Ask(beat=0, line=self._lines + 1, what="round", round=number))

    def sustained(self) -> bytes:
        """Have sets run without a pause, and return the line that says what it took.

        Raises:
            BackendError: the app failed, or is gone, or the phone; says what to do.
        """
        return self._answer(Ask(beat=0, line=self._lines + 1, what="sustained", round=0))

    def end(self) -> None:
        """Have the app end, and its folder removed.

        Raises:
            BackendError: the phone is gone: the app ends by itself.
        """
        if self._over.is_set():
            return
        self._over.set()
        self._beating.cut("")
        try:
            if self._silent:
                self._phone.run(f"am force-stop {PACKAGE}")
            else:
                self._write(self._phone, Ask(beat=0, line=self._lines, what="end", round=0))
                deadline = time.monotonic() + _END_S
                while self._phone.run(f"ls {self.folder}").code == 0 and time.monotonic() < deadline:
                    time.sleep(_LOOK_S[0])
            self._phone.run(f"rm -rf {self.folder}")
        finally:
            self._beating.close()

    def _begin(self, progress: Progress, owned: Callable[[str], None]) -> None:
        deadline, step = time.monotonic() + _BUSY_S, ""
        while True:
            self.folder = f"{SWEEPS}/{secrets.token_hex(8)}"
            owned(self.folder)
            try:
                self._start()
                state = self._first()
                if state.state != "failed":
                    return
                if state.kind != "busy" or time.monotonic() > deadline:
                    raise self._failed(state)
            except BaseException:
                with contextlib.suppress(BackendError):  # it is told already what is wrong
                    self._phone.run(f"rm -rf {self.folder}")
                raise
            self._phone.run(f"rm -rf {self.folder}")
            if not step:
                step = f"waiting: the app on {self._phone.name} still runs another sweep"
                progress.start(step, int(_BUSY_S / _LOOK_S[1]))
            progress.advance(step)
            time.sleep(_LOOK_S[1])

    def _start(self) -> None:
        done = self._phone.run(f"{_START} {self.folder.rpartition('/')[2]}")
        said = [line for line in (done.out + done.errors).splitlines() if re.search("Error|Exception|Permission", line)]
        if done.code != 0 or said:
            why = said[-1].strip() if said else done.last
            raise BackendError(
                f"{self._phone.name} does not start a sweep of the demo app: {why}; "
                f"install the app of this edge-moe: {INSTALL}"
            )

    def _first(self) -> State:
        """Return the first state that the app tells."""
        deadline, read = time.monotonic() + _START_S, f"cat {self.folder}/{STATE}"
        while (done := self._phone.run(read)).code != 0:
            if "Permission denied" in done.errors:
                raise BackendError(
                    f"{self._phone.name} does not let adb read the app's folder ({done.last}), so that nothing can be "
                    "asked of the app; measure from the shell instead: --device adb"
                )
            if time.monotonic() > deadline:
                raise BackendError(
                    f"{self._phone.name} does not answer: {_START_S:.0f} seconds after its start the app has no "
                    f"{self.folder}/{STATE}; unlock the phone, see what the app shows, and repeat the command"
                )
            time.sleep(_LOOK_S[0])
        return read_state(self._phone.name, done.out)

    def _answer(self, ask: Ask) -> bytes:
        """Ask, wait until it is answered, and return the new line. The beat is `_write`'s to count."""
        self._write(self._phone, ask)
        pause, heard, beat = _LOOK_S[0], time.monotonic(), -1
        while True:
            state = self._state()
            if state.state == "failed":
                raise self._failed(state)
            if state.lines >= ask.line:
                break
            if state.beat != beat:
                heard, beat = time.monotonic(), state.beat
            elif time.monotonic() - heard > SILENCE_S:
                self._silent = True
                raise self._gone(f"nothing was heard of it for {SILENCE_S:.0f} seconds")
            time.sleep(pause)
            pause = min(1.5 * pause, _LOOK_S[1])
        self._lines = ask.line
        return self._pulled(ask.line)

    def _pulled(self, line: int) -> bytes:
        """Return a line that is there."""
        for pause in _LATE_S:
            time.sleep(pause)
            *lines, _ = self._phone.pull(f"{self.folder}/{ROUNDS}").split(b"\n")
            if len(lines) >= line:
                return lines[line - 1]
        raise BackendError(
            f"the app on {self._phone.name} says that {line} lines are there, and {len(lines)} can be read; report this"
        )

    def _state(self) -> State:
        for pause in _LATE_S:  # while it is replaced, adb may see nothing
            time.sleep(pause)
            done = self._phone.run(f"cat {self.folder}/{STATE}")
            if done.code == 0:
                return read_state(self._phone.name, done.out)
        raise self._gone(f"its folder cannot be read any more ({done.last})")

    def _has_ended(self, phone: Phone) -> bool:
        """Whether the app has removed its folder; not where the phone is gone."""
        try:
            return phone.run(f"ls {self.folder}/{STATE}").code != 0
        except BackendError:
            return False

    def _failed(self, state: State) -> BackendError:
        if state.kind == "busy":
            return BackendError(f"{self._phone.name} cannot be measured on now: {state.problem}")
        return BackendError(f"the app on {self._phone.name} failed: {state.problem}; then {_REPEAT}")

    def _gone(self, why: str) -> BackendError:
        return BackendError(
            f"the app on {self._phone.name} is gone: {why}; Android or a person ended it, or it crashed (see 'adb "
            f"logcat'): leave it in front, and {_REPEAT}"
        )

    def _write(self, phone: Phone, ask: Ask | None = None) -> None:
        """Write what is wanted, `None`: still the same; whoever reads it sees all of it or what was there before."""
        with self._writing:
            self._ask = msgspec.structs.replace(ask or self._ask, beat=self._ask.beat + 1)
            text, file = msgspec.json.encode(self._ask).decode(), f"{self.folder}/{ASK}"
            done = phone.run(f"echo '{text}' > {file}.part && mv -f {file}.part {file}")
        if done.code != 0 and self._ask.what != "end":
            if self._has_ended(phone):
                raise self._gone("its folder is not there any more")
            raise BackendError(f"{self._phone.name} does not take what the app is asked: {done.last}; {_REPEAT}")

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(BackendError):  # the one who waits says what is wrong
                self._write(self._beating)
