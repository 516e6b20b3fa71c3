"""The page without a browser: libraries that are nothing, and a page that is a thread and computes on this machine."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from edge_moe import backends
from edge_moe.benchmarks.browser import libraries
from edge_moe.benchmarks.browser.libraries import Libraries
from edge_moe.benchmarks.fetch import Npm
from edge_moe.progress import Silent

HELLO = {
    "name": "Fake 1",
    "user_agent": "Fake/1",
    "system": "Linux",
    "cores": 2,
    "timer_ms": 0.005,
    "isolated": True,
    "build": "no SIMD",
}
OURS = {"X-Edge-Moe": "1"}


def bring_nothing(monkeypatch):
    """Let packages of npm hold, under every name that is asked for, a line that says it."""

    def untar(package, members, folder):
        folder.mkdir(exist_ok=True)
        for name, path in members.items():
            (folder / name).write_bytes(f'// {package.decode()} {path} "@litertjs/wasm-utils"'.encode())

    monkeypatch.setattr(Npm, "fetch", lambda self: self.name.encode())
    monkeypatch.setattr(libraries, "untar", untar)


def fake_libraries(monkeypatch, cache):
    """Set up libraries that are nothing, where this process looks for them."""
    bring_nothing(monkeypatch)
    monkeypatch.setenv("EDGE_MOE_CACHE", str(cache))
    found = Libraries()
    found.install(Silent())
    return found


def ask(url, path, *, method="GET", body=None, headers=OURS, host=None):
    """One request to a server -> status, headers, body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    given = dict(headers) | ({"Host": host} if host else {})
    connection.request(method, parts.path.rpartition("/")[0] + "/" + path, body, given)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


class Page(threading.Thread):
    """Does tasks as the page does, by the backends of this machine."""

    def __init__(self, url, hello=HELLO, cost=1.0):
        super().__init__(daemon=True)
        self.url, self.hello, self.cost, self.name_there = url, hello, cost, ""
        self.done, self.ended, self.problem = [], False, None

    def run(self):
        try:
            self.work()
        except Exception as error:
            self.problem = error

    def post(self, what, body):
        return ask(self.url, f"desk/{what}", method="POST", body=body)

    def greet(self, instead_of=""):
        status, _, body = self.post(f"hello?instead_of={instead_of}", json.dumps(self.hello))
        if status == 200:
            self.name_there = json.loads(body)["page"]
        return status

    def work(self):
        assert self.greet() == 200
        while not self.ended:
            status, _, body = ask(self.url, f"desk/task?page={self.name_there}")
            if status == 200:
                task = json.loads(body)
                self.done.append(task)
                self.post(f"alive?page={self.name_there}", json.dumps({"visible": True, "done": 1, "of": 2}))
                self.post(f"answer?page={self.name_there}&task={task['task']}", self.answer(task))
            elif status != 204:
                break
            time.sleep(0.005)

    def end(self):
        self.ended = True
        self.join(5)
        if self.problem:
            raise self.problem

    def answer(self, task):
        return getattr(self, f"answer_{task['kind']}")(task)

    def answer_job(self, task):
        self.plan = json.loads(ask(self.url, f"{task['job']}plan.json")[2])
        self.manifest = json.loads(ask(self.url, f"{task['job']}bundle/manifest.json")[2])
        return b""

    def answer_round(self, task):
        timed, sets = len(self.plan["images"]), []
        for one in self.plan["sets"]:
            points = [{"costs": {"ms": [self.cost] * timed}, "ran": [None] * timed} for _ in one["settings"]]
            parts = {part: {"ms": [self.cost] * timed} for part in self.manifest["parts"]}
            sets.append({"parts": parts, "points": points} | ({"cold_start_ms": 5.0} if task["cold"] else {}))
        steps = {"preprocessing": {"ms": [self.cost] * timed}}
        return json.dumps({"sets": sets, "steps": steps, "seen": {"probe_ms": 1.0}})

    def inputs(self, task):
        return np.frombuffer(ask(self.url, f"desk/inputs?task={task['task']}")[2], np.float32)

    def answer_outputs(self, task):
        data = ask(self.url, task["url"])[2]
        part, shape = backends.get("litert").open(data), task["spec"]["inputs"][0]["shape"]
        rows = {name: [] for name in task["names"]}
        for x in self.inputs(task).reshape(-1, *shape):
            part.invoke(x)
            for name in rows:
                rows[name].append(part.output(name).copy())
        part.close()
        return b"".join(np.concatenate(row).tobytes() for row in rows.values())

    def answer_prices(self, task):
        found = {}
        for one in task["parts"]:
            count = task["inputs"][one["part"]][0]
            size = one["artifact"]["bytes"]
            found.setdefault(one["set"], {})[one["part"]] = [[float(size)] * count] * task["rounds"]
        return json.dumps(found)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
