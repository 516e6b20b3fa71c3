"""`--device ssh:HOST` over a real sshd: set-up, sweep, faults; and with an emulated Arm core behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edge_moe.benchmarks.results import load
from edge_moe.brought import cache_folder
from tests.benchmarks.targets.ssh import arm_board
from tests.fixtures import JOB
from tests.sshd import HOST, Sshd, sshd

pytestmark = pytest.mark.devices

DEVICE, BUNDLE = f"ssh:{HOST}", JOB / "bundle"
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from edge_moe.cli import main; main()"
SHORT = ("--data", "noise", "--images", "4", "--validation-images", "8", "--checked-images", "4", "--rounds", "2")


def edge_moe(*arguments, timeout=300):
    command = [sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A board that is set up."""
    with pytest.MonkeyPatch.context() as patch, sshd(tmp_path_factory.mktemp("sshd")) as server:
        patch.setenv("PATH", f"{server.folder / 'bin'}:{os.environ['PATH']}")
        done = edge_moe("devices", "setup", DEVICE)
        assert done.returncode == 0, done.stderr
        assert f"{DEVICE} is set up" in done.stdout
        yield server


@pytest.fixture(autouse=True)
def as_it_was(server):
    server.trust()
    server.let_in()


def test_a_set_up_has_no_torch_and_is_found(server):
    assert {one.name for one in server.home.iterdir()} >= {"core", "litert", "onnx"}
    names = {one.name for folder in server.home.iterdir() for one in folder.iterdir()}
    assert "numpy" in names and "torch" not in names
    assert not (server.home / "litert/numpy").exists()  # core has it
    started = time.monotonic()
    assert edge_moe("devices", "setup", DEVICE).returncode == 0
    assert time.monotonic() - started < 20


def test_golden_samples_are_verified_there(server):
    done = edge_moe("verify", BUNDLE, "--device", DEVICE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks passed" in done.stdout


def test_a_sweep_and_what_follows_from_it(server, tmp_path):
    done = edge_moe("bench", BUNDLE, "--device", DEVICE, *SHORT, "-o", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    results = load(tmp_path / "report")
    assert (results.target, results.opening.how, results.unit.name) == ("ssh", "over ssh on this machine itself", "ms")
    assert all(one.agreement_there == (1.0, 1.0) for one in results.sets)
    assert "on this machine itself" in (tmp_path / "report/results.md").read_text()
    simulated = ("--profile", tmp_path / "report/results.json", "--compare", tmp_path / "report/results.json")
    found = edge_moe(
        "simulate", BUNDLE, "--data", "noise", "--validation-images", "8", *simulated, "-o", tmp_path / "s"
    )
    assert found.returncode == 0, found.stderr
    limit = ("--max-latency-ms", "1000")
    assert edge_moe("choose", BUNDLE, "--results", tmp_path / "report/results.json", *limit).returncode == 0
    assert not [one for one in (server.home / "jobs").iterdir() if one.is_dir()]


@pytest.mark.parametrize("how", ["Ctrl-C", "the connection is lost"])
def test_what_was_stopped_goes_on(server, tmp_path, how):
    command = ["bench", BUNDLE, "--device", DEVICE, *SHORT[:-1], "40", "-o", tmp_path / "report"]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / "report.unfinished"
    _until(lambda: (journal / "round-0001.json").is_file() or process.poll() is not None)
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        server.cut()
    _, err = process.communicate(timeout=120)
    if how == "Ctrl-C":
        assert process.returncode == 130, err
        assert load(tmp_path / "report").rounds < 40
    else:
        assert process.returncode == 1, err
        assert "Traceback" not in err
        assert "connection was lost" in err or "signal 9" in err
    _until(lambda: not [one for one in (server.home / "jobs").iterdir() if one.is_dir()])
    done = edge_moe(*command, "--force")
    assert done.returncode == 0, done.stderr
    results = load(tmp_path / "report")
    assert (results.rounds, results.sittings) == (40, 2)


def refused(words, *, code=1, device=DEVICE):
    started = time.monotonic()
    done = edge_moe("bench", BUNDLE, "--device", device, *SHORT, "-o", "never")
    line = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert words in line, line
    assert time.monotonic() - started < 60


def test_a_host_key_that_changed(server):
    server.trust("other")
    refused("its host key is another than before; if you know why, forget the old one: ssh-keygen -f")


def test_a_host_key_that_nobody_knows(server):
    (server.folder / "known").write_text("")
    refused("its host key is not known here yet; connect once by hand, and accept it: ssh board")


def test_a_board_that_would_ask_for_a_password(server):
    (server.folder / "authorized").write_text("")
    refused("it does not let you in without a password or a passphrase")


def test_a_board_without_python(server):
    server.let_in(r"PATH=/nowhere; eval \"$SSH_ORIGINAL_COMMAND\"")
    refused("there is no python3; install Python 3.11 or newer on it")


def test_a_board_that_is_not_there(server):
    refused("there is no host of that name", device="ssh:nowhere.invalid")


def test_a_board_that_is_off(server, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "off").mkdir()
        off = Sshd(tmp_path / "off")
        patch.setenv("PATH", f"{off.folder / 'bin'}:{os.environ['PATH']}")
        refused("it cannot be reached")


def test_an_emulated_core_behind_it(tmp_path):
    """Wheels for another processor than this machine's, and what they compute."""
    subprocess.run([sys.executable, "-c", MAIN, "devices", "setup", "arm"], check=True, capture_output=True)
    (tmp_path / "arm").mkdir()
    (tmp_path / "sshd").mkdir()
    shell = arm_board.make(tmp_path / "arm", cache_folder() / "arm")
    with pytest.MonkeyPatch.context() as patch, sshd(tmp_path / "sshd") as server:
        patch.setenv("PATH", f"{server.folder / 'bin'}:{os.environ['PATH']}")
        server.let_in(str(shell))
        done = edge_moe("devices", "setup", DEVICE)
        assert done.returncode == 0, done.stderr
        assert json.loads((server.home / "litert/brought.json").read_text())["made_from"]
        done = edge_moe(
            "bench", BUNDLE, "--device", DEVICE, *SHORT[:-1], "1", "--cold-starts", "1", "-o", tmp_path / "r"
        )
        assert done.returncode == 0, done.stderr
        results = load(tmp_path / "r")
        assert results.machine.system == "Linux aarch64" and "asimddp" in results.machine.processor
        assert all(one.agreement_there == (1.0, 1.0) for one in results.sets)
        assert all(one.cold_start_ms for one in results.sets)


def _until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
