"""The app and the phone for tests that need neither: a thread that speaks by files, and a shell on a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_moe.benchmarks.targets.adb.phone import Done
from edge_moe.errors import BackendError

OPENING = {
    "schema_version": 3,
    "target": "demo",
    "units": [{"name": "ms", "words": "milliseconds", "seconds": 0.001}],
    "machine": {"name": "what the app calls it"},
    "versions": {"onnx/int8": "onnxruntime 1"},
    "facts": {"heap, MiB": 256},
}


class FakePhone:
    """A phone whose /sdcard is a folder here, and whose `am` is `started`."""

    name, serial = "app", "X"

    def __init__(self, folder: Path, started: Callable[[Path], None] = lambda job: None) -> None:
        """`started`: is told the job folder of each sweep that is started."""
        self.sdcard, self.started = folder, started
        self.commands: list[str] = []
        self.answers: dict[str, Done] = {}  # beginning of a command -> what it comes to
        self.lost = ""

    def run(self, command: str, *, timeout_s: float = 60.0) -> Done:
        if self.lost:
            raise BackendError(self.lost)
        self.commands.append(command)
        for begins, done in self.answers.items():
            if command.startswith(begins):
                return done
        if command.startswith("am start"):
            self.started(self._here("/sdcard/Android/data/org.edgemoe.demo/files/sweeps/") / command.split()[-1])
            return Done(0, "Starting: Intent { ... }\n", "")
        if command.startswith(("am ", "cmd ")):
            return Done(0, "", "")
        done = subprocess.run(
            ["sh", "-c", command.replace("/sdcard", str(self.sdcard))], capture_output=True, text=True
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def shell(self, command: str) -> str:
        done = self.run(command)
        assert done.code == 0, done
        return done.out

    def push(self, data: bytes, there: str, *, executable: bool = False) -> None:
        file = self._here(there)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def pull(self, there: str) -> bytes:
        return self._here(there).read_bytes()

    def free_bytes(self, folder: str) -> int:
        return 1 << 40

    def cut(self, why: str) -> None:
        pass

    def close(self) -> None:
        pass

    def _here(self, there: str) -> Path:
        return Path(there.replace("/sdcard", str(self.sdcard)))


class FakeApp:
    """Answers one sweep after the other, each on a thread, with lines that a test gives."""

    def __init__(self, line: Callable[[dict[str, Any]], Any]) -> None:
        """`line`: what is asked for -> the line that is written; a dict with "kind" is a failure, None: silence."""
        self._line = line
        self.asked: list[dict[str, Any]] = []
        self.beats: list[int] = []
        self.first: dict[str, Any] = {}  # what its first state says otherwise
        self.threads: list[threading.Thread] = []

    def start(self, job: Path) -> None:
        job.mkdir(parents=True)
        self._tell(job, 0, 0, **self.first)
        thread = threading.Thread(target=self._serve, args=(job,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _tell(self, job: Path, lines: int, beat: int, **more: Any) -> None:
        state = {"schema_version": 1, "state": "waiting", "lines": lines, "beat": beat, "problem": None, "kind": None}
        half = job / "state.json.part"
        half.write_text(json.dumps(state | more))
        half.replace(job / "state.json")

    def _serve(self, job: Path) -> None:
        lines, beat, silent = 0, 0, False
        while job.is_dir():
            time.sleep(0.005)
            beat += 1
            try:
                ask = json.loads((job / "ask.json").read_text())
            except (OSError, ValueError):  # not there, or not whole
                continue
            if ask["beat"] not in self.beats:
                self.beats.append(ask["beat"])
            if ask["what"] == "end":
                shutil.rmtree(job, ignore_errors=True)
                return
            if silent or ask["line"] <= lines:
                continue
            self.asked.append({name: ask[name] for name in ("line", "what", "round")})
            found = self._line(ask)
            if found is None:
                silent = True
            elif "kind" in found:
                self._tell(job, lines, beat, state="failed", **found)
                silent = True
            else:
                lines += 1
                with (job / "rounds.jsonl").open("a") as file:
                    file.write((found if isinstance(found, str) else json.dumps(found)) + "\n")
                self._tell(job, lines, beat)
