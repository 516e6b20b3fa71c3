"""edge-moe devices: what can be used here, what is missing, and what a set-up brings and takes away."""

from __future__ import annotations

import sys
from importlib import metadata

from edge_moe import UsageError
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.target import Target
from edge_moe.benchmarks.targets.host import Host
from tests.benchmarks.test_set_up import Core
from tests.tiny import tree


def rows(done):
    """device -> whether it is usable, and its detail, which may be several lines."""
    assert (done.code, done.err) == (0, "")
    found, device = {}, ""
    for line in done.out.splitlines():
        if "│" in line:
            name, usable, detail = (cell.strip() for cell in line.split("│")[1:-1])
            device = name or device
            before = found.get(device, ["", ""])
            found[device] = [before[0] + usable, f"{before[1]} {detail}".strip()]
    return found


def test_devices(cli):
    found = rows(cli("devices"))
    assert found["host"][0] == "yes"
    assert found["host, litert"] == ["yes", f"ai-edge-litert {metadata.version('ai-edge-litert')}"]
    usable, detail = found["host, onnx"]
    assert usable == "yes"
    assert detail.startswith(f"onnxruntime {metadata.version('onnxruntime')}")  # and that weights are unsigned here


def test_a_kind_that_has_to_be_told_which_one_is_listed_too(cli, monkeypatch):
    class Board(Target):
        kind = "board"

        def __init__(self, parameter=""):
            if not parameter:
                raise UsageError("a board needs its name; expected board:HOST")
            super().__init__(parameter)

        def available(self):
            return []

        def open(self, job, progress):
            raise AssertionError

    monkeypatch.setattr(targets, "_registered", {"board": Board})
    found = rows(cli("devices"))
    assert found["board"] == ["NO", "a board needs its name; expected board:HOST"]
    assert found["host"][0] == "yes"


def test_set_up_is_brought_and_taken_away(cli, monkeypatch, tmp_path):
    class Needy(Host):
        kind = "needy"

        def set_up(self):
            return Core(tmp_path / "cache/needy")

    monkeypatch.setattr(targets, "_registered", {"needy": Needy})
    done = cli("devices", "setup", "needy")
    assert done.code == 0, done.err
    words = "needy needs runner 1.0, libraries 1.0, notes 1.0; to fetch: at most 0.1 KiB"
    assert f"{words}, into {tmp_path / 'cache/needy'}" in done.out
    assert "needy is set up, 1." in done.out  # KiB, with what stands beside the files
    assert Core(tmp_path / "cache/needy").complete
    assert cli("devices", "setup", "needy", "--remove").code == 0
    assert tree(tmp_path / "cache") == {}
    cli("devices", "setup", "phone").refused(2, "unknown device 'phone'")


def test_devices_say_what_to_install(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    usable, detail = rows(cli("devices"))["host, onnx"]
    assert (usable, detail[-28:]) == ("NO", "pip install 'edge-moe[onnx]'")
