"""A phone while it is being measured: a folder of ours on it, what is in it, and a keeper that sees that all goes.

The folder is there as long as somebody measures, so that it is a lock as well. The keeper, keeper.sh, is started with
it, hears every few seconds that this computer is still there, and otherwise cleans up by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path

from edge_moe.benchmarks.line import BEAT_S, SILENCE_S
from edge_moe.benchmarks.runner.native import LOADER, NATIVE, RUNNER
from edge_moe.benchmarks.targets.adb.client import Client
from edge_moe.benchmarks.targets.adb.files import Files
from edge_moe.benchmarks.targets.adb.phone import Done, Phone
from edge_moe.benchmarks.targets.adb.set_up import LIBRARIES
from edge_moe.errors import BackendError
from edge_moe.progress import Progress

__all__ = ["FOLDER", "Contact", "end_all"]

FOLDER = "/data/local/tmp/edge-moe"
_WAIT_S, _LOOK_S = 10.0, 0.3
_RUN_S = 3600.0


class Contact:
    """See the module."""

    def __init__(self, phone: Phone, set_up: Path = Path()) -> None:
        """Make the folder, and start the keeper; `set_up`: where what the shell runs lies here, if it runs anything.

        Raises:
            BackendError: somebody measures on the phone already, or it is gone.
        """
        self._phone, self._set_up = phone, set_up
        self._files = Files(phone, FOLDER)
        self._runners: set[str] = set()  # of which backends
        self._over = threading.Event()
        self._client = Client()
        try:
            self._take()
        except BaseException:
            self._client.close()
            raise
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    def put(self, files: Mapping[str, bytes], progress: Progress | None = None, *, executable: bool = False) -> None:
        """Write files into the folder, see `Files`.

        Raises:
            BackendError: no space, other bytes than were sent, or the phone is gone.
        """
        self._files.put(files, progress, executable=executable)

    def put_runner(self, backend: str, progress: Progress) -> None:
        """Write what executes artifacts of a backend; once, for it is many megabytes to read and hash."""
        if backend in self._runners:
            return
        runner, there = f"runner-{backend}", NATIVE[backend].members
        programs = {runner: self._read(RUNNER, runner)}
        libraries = {f"{LIBRARIES}/{one.name}": one.read_bytes() for one in _files(self._set_up / LIBRARIES)}
        libraries |= {f"{backend}/{name}": self._read(backend, name) for name in there if name.endswith(".so")}
        self.put(programs | libraries, progress, executable=True)
        self._runners.add(backend)

    def run(
        self, backend: str, work: str, out: str, cpus: Iterable[int], *, seconds: int = 0, power: bool = False
    ) -> Done:
        """Start the runner on these CPUs, with its WORK file; what it prints goes into a file.

        Args:
            backend: whose runner.
            work: the file that says what to do.
            out: the file for what it prints.
            cpus: to run on.
            seconds: that it is known to take.
            power: whether the battery is read meanwhile, into `power`.

        Raises:
            BackendError: the phone is gone.
        """
        mask = f"{sum(1 << cpu for cpu in cpus):x}"
        library = f"{LIBRARIES}:{backend}"
        program = f"./{LIBRARIES}/{LOADER} --library-path {library} ./runner-{backend} {work}"
        command = f"cd {FOLDER} && echo $$ > running && exec taskset {mask} {program} > {out} < /dev/null"
        if power:
            command = f"{_READ_BATTERY}; (exec sh -c '{command}'); code=$?; kill $reading; exit $code"
        return self._phone.run(command, timeout_s=_RUN_S + seconds)

    def get(self, name: str) -> bytes:
        """Return a file of the folder."""
        return self._phone.pull(f"{FOLDER}/{name}")

    def put_back(self, command: str) -> None:
        """Have the keeper run a command before all goes; asked before what it undoes is done."""
        self._phone.shell(f"echo '{command}' >> {FOLDER}/restore")

    @property
    def is_over(self) -> bool:
        """Whether it was closed."""
        return self._over.is_set()

    def close(self) -> None:
        """Have everything put back and removed, and wait for that.

        Raises:
            BackendError: the phone is gone: its keeper does it without us.
        """
        if self.is_over:
            return
        self._over.set()
        self._beating.join()  # which may be hearing an answer
        gone = True
        with contextlib.suppress(OSError):
            self._keeper.conn.sendall(b"end\n")
            self._keeper.conn.settimeout(_WAIT_S)
            while (said := self._heard()) == "beat":
                continue
            gone = said != "done"
        self._client.close()
        if gone:
            raise BackendError(
                f"{self._phone.name} was lost before it was cleaned up; it cleans up by itself within "
                f"{SILENCE_S:.0f} seconds, or when it is measured on again"
            )

    def _take(self) -> None:
        """Start the keeper, which takes the folder; for a while the one before may still clean up."""
        script = resources.files(__package__).joinpath("keeper.sh").read_text()
        lines = (line for line in script.splitlines() if not line.startswith("#"))
        command = "\n".join(lines).replace("FOLDER", FOLDER).replace("SILENCE_S", f"{SILENCE_S:.0f}")
        deadline = time.monotonic() + _WAIT_S
        while True:
            self._keeper = self._phone.talk(command, self._client)
            self._keeper.conn.settimeout(_WAIT_S)
            said = self._heard()
            if said == "ready":
                return
            self._keeper.close()
            if said != "busy":
                raise BackendError(f"{self._phone.name} does not take files: {said or 'its shell says nothing'}")
            if time.monotonic() > deadline:
                raise BackendError(f"something is measured on {self._phone.name} already; wait until it is done")
            time.sleep(_LOOK_S)

    def _read(self, folder: str, name: str) -> bytes:
        return (self._set_up / folder / name).read_bytes()

    def _heard(self) -> str:
        """Return the next line that the keeper says; nothing where it ended, or is silent."""
        said = b""
        with contextlib.suppress(OSError):
            while not said.endswith(b"\n") and (more := self._keeper.conn.recv(1)):
                said += more
        return said.decode(errors="replace").strip() if said.endswith(b"\n") else ""

    def _beat(self) -> None:
        """Say that we are here, and hear that the phone is; where it is not, nobody waits for it any longer."""
        silent_s = 0.0
        while not self._over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                self._keeper.conn.sendall(b"beat\n")
            self._keeper.conn.settimeout(min(BEAT_S, _WAIT_S))
            heard = self._heard()
            if self._over.is_set():
                return
            silent_s = 0.0 if heard == "beat" else silent_s + BEAT_S
            if heard in ("", "done") and (heard == "done" or silent_s >= SILENCE_S):
                self._phone.cut(
                    f"{self._phone.name} was lost: it was out of reach for {SILENCE_S:.0f} seconds, and cleans up by "
                    "itself; repeat the command to go on"
                )
                return


def end_all(error: BaseException | None, *ends: Callable[[], None]) -> None:
    """Call all of these, one after the other, whatever happens.

    Args:
        error: what somebody is told already; one that is raised here is then not told.
        ends: that may raise BackendError.

    Raises:
        BackendError: the last that one of them raised.
    """
    told = contextlib.nullcontext() if error is None else contextlib.suppress(BackendError)
    with told, contextlib.ExitStack() as stack:
        for end in reversed(ends):
            stack.callback(end)


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix != ".json")


_BATTERY = "/sys/class/power_supply/battery"
# Microamperes and microvolts, five times a second, as long as the shell lives that began it: $$ is its number.
_READ_BATTERY = (
    f"(while kill -0 $$ 2> /dev/null; do echo $(cat {_BATTERY}/current_now) $(cat {_BATTERY}/voltage_now); sleep 0.2; "
    f"done > {FOLDER}/power 2> /dev/null) & reading=$!; echo $reading > {FOLDER}/reading"
)
