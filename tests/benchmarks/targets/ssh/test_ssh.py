"""A board as a target, through an `ssh` that starts a shell here: what it answers, and what is wrong when it cannot."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_moe import BackendError, UsageError
from edge_moe.backends import Backend
from edge_moe.benchmarks import line
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.targets.host import Host
from edge_moe.benchmarks.targets.ssh import Ssh
from edge_moe.benchmarks.targets.ssh.session import LOOPBACK
from edge_moe.bundle import Bundle
from edge_moe.progress import Silent
from tests.benchmarks.targets.ssh.near import Near
from tests.fixtures import JOB


@pytest.fixture
def near(tmp_path, monkeypatch):
    return Near(tmp_path, monkeypatch)


@pytest.fixture
def board(near):
    near.set_up()
    target = Ssh("near")
    yield target
    target.close()


@pytest.fixture
def job():
    return read_job(JOB)


def test_rounds_are_those_of_the_host_s_own_session(board, job, near):
    plan = msgspec.structs.replace(job.plan, cold_starts=1, rounds=2, peers=True)
    with board.open(replace(job, plan=plan), Silent()) as session:
        opening = session.opening
        lines = list(session.rounds(1, Silent(), "timing"))
    assert (opening.target, opening.how, [unit.name for unit in opening.units]) == ("ssh", LOOPBACK, ["ms"])
    assert set(opening.versions) == {one.set for one in plan.sets}
    assert (opening.peers, len(lines)) == ((), 1)  # what one would do otherwise is not on a board
    assert [set(one.parts) for one in lines[0].sets] == [set(job.bundle.manifest.parts)] * len(plan.sets)
    assert [len(one.points) for one in lines[0].sets] == [len(one.settings) for one in plan.sets]
    assert all(value > 0 for one in lines[0].sets for costs in one.parts.values() for value in costs["ms"])
    assert _left(near) == []


@pytest.mark.parametrize("rounds", [2, 0])
def test_without_a_pause_after_the_rounds_or_where_they_are_kept_already(board, job, rounds):
    default = job.plan.sets[0].settings[1]
    sets = tuple(msgspec.structs.replace(one, sustained=default) for one in job.plan.sets[:1]) + job.plan.sets[1:]
    plan = msgspec.structs.replace(job.plan, cold_starts=0, rounds=2, sustained_s=1, sets=sets)
    with board.open(replace(job, plan=plan), Silent()) as session:
        if rounds:
            answered = session.rounds(0, Silent(), "timing")
            assert len([next(answered) for _ in range(rounds)]) == rounds
        (found,) = session.sustained(Silent(), "sustained")
    assert (found.set, found.setting) == (sets[0].set, default)
    (window,) = found.windows  # a second is less than a window, but all there is
    assert (window.start_s, window.count > 10) == (0.0, True)
    assert 0 < window.median * window.count < 10_000


def test_a_process_of_its_own_starts_cold_there(board, job):
    plan = msgspec.structs.replace(job.plan, cold_starts=1, rounds=1)
    with board.open(replace(job, plan=plan), Silent()) as session:
        (line,) = session.rounds(0, Silent(), "timing")
    assert all(one.cold_start_ms > 0 and one.peak_rss_bytes > 1 << 20 for one in line.sets)


def test_parts_compute_there_what_they_compute_here(board, job):
    bundle = Bundle(JOB / "bundle")
    inputs = np.concatenate(job.inputs)
    for artifacts in bundle.manifest.sets:
        for part, x in _inputs(bundle, artifacts, inputs).items():
            found = board.outputs(bundle, artifacts, part, x)
            for name, value in Host().outputs(bundle, artifacts, part, x).items():
                np.testing.assert_array_equal(found[name], value)
    assert len(Ssh._running) == 1


def test_a_backend_there_is_one_as_if_it_were_here(board):
    assert isinstance(board.backend(Bundle(JOB / "bundle"), "litert"), Backend)


def test_prices(board, job):
    bundle = Bundle(JOB / "bundle")
    files = {
        one.key: {name: bundle.path / artifact.file for name, artifact in one.parts.items()}
        for one in bundle.manifest.sets
    }
    inputs = _inputs(bundle, bundle.manifest.sets[0], np.concatenate(job.inputs))
    found = board.price(files, bundle.manifest.parts, inputs, 2, Silent())
    assert found.unit.name == "ms"
    assert set(found.samples) == set(files)
    assert {len(row) for parts in found.samples.values() for rows in parts.values() for row in rows} == {4}


def test_what_a_login_prints_is_no_answer(board, near):
    near.answer_as(before="echo 'Welcome to the board'; printf 'no end of line'")
    assert Ssh("near").board.system == "Linux"


def test_a_login_that_takes_its_time(near, job, monkeypatch):
    """Meanwhile it is told that somebody is here, which is neither a request nor a file."""
    near.set_up()
    monkeypatch.setattr(line, "BEAT_S", 0.05)
    near.answer_as(before="sleep 0.5")
    with Ssh("near").open(job, Silent()) as session:
        assert session.opening.target == "ssh"


def test_what_is_not_whole_there_is_not_there(near):
    """As after a loss of power in the middle of a set-up."""
    near.set_up()
    (near.home / "litert/brought.json").write_text("")
    assert [one.usable for one in Ssh("near").available()] == [True, False, True]


def test_an_answer_that_nobody_waited_for_is_not_the_next_one_s(board, job, monkeypatch):
    bundle = Bundle(JOB / "bundle")
    (artifacts, *_) = bundle.manifest.sets
    first, second = np.concatenate(job.inputs[:1]), np.concatenate(job.inputs[1:2])
    board.outputs(bundle, artifacts, "base", first)

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(line.Line, "line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            board.outputs(bundle, artifacts, "base", first)
    found = board.outputs(bundle, artifacts, "base", second)["logits"]
    np.testing.assert_array_equal(found, Host().outputs(bundle, artifacts, "base", second)["logits"])


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "echo 'WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.' >&2; exit 255",
            "its host key is another than before; if you know why, forget the old one: ssh-keygen -R near",
        ),
        ("echo 'Host key verification failed.' >&2; exit 255", "not known here yet; connect once by hand, .*ssh near"),
        (
            "echo 'pi@near: Permission denied (publickey,password).' >&2; exit 255",
            "does not let you in without a password or a passphrase .*give it your key: ssh-copy-id near",
        ),
        (
            "echo 'ssh: Could not resolve hostname near: Name or service not known' >&2; exit 255",
            "there is no host of that name",
        ),
        (
            "echo 'ssh: connect to host near port 22: Connection refused' >&2; exit 255",
            "it cannot be reached .*; is it on, in this network, with ssh switched on",
        ),
        ("echo 'Connection closed by remote host' >&2; exit 255", "the connection was lost .*; repeat"),
        ("echo 'kex: no match' >&2; exit 255", "kex: no match; try: ssh near true"),
        ("echo 'bash: line 1: python3: command not found' >&2; exit 127", "no python3; install Python 3.11 or newer"),
        ("exit 1", "it said nothing, and it ended with exit code 1"),
        ("yes; exit 1", "prints without an end"),
    ],
)
def test_a_board_that_cannot_be_reached(near, before, words):
    near.answer_as(before)
    target = Ssh("near")
    with pytest.raises(BackendError, match=words):
        target.check((), 1)
    assert not target.available()[0].usable


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"python": (3, 9, 2)}, "its python3 is CPython 3.9.2; expected CPython 3.11 or newer"),
        ({"implementation": "PyPy"}, "its python3 is PyPy"),
        ({"libc": ("", "")}, "its C library is not glibc"),
        ({"bits": 32, "machine": "armv7l"}, "its Python is a 32-bit one .armv7l.*64-bit system"),
        ({"system": "Darwin"}, "it is Darwin; expected Linux"),
    ],
)
def test_a_board_that_is_of_no_use(near, monkeypatch, facts, words):
    told = Ssh("near")._way.ask("look") | facts
    monkeypatch.setattr("edge_moe.benchmarks.targets.ssh.Connection.ask", lambda *_, **__: told)
    with pytest.raises(BackendError, match=words):
        Ssh("near").check((), 1)


def test_a_board_that_is_not_set_up(near):
    target, bundle = Ssh("near"), Bundle(JOB / "bundle")
    with pytest.raises(BackendError, match="not set up: run 'edge-moe devices setup ssh:near'"):
        target.check(bundle.manifest.sets, 1)
    assert [one.usable for one in target.available()] == [True, False, False]


def test_sets_that_it_does_not_run(board):
    (one, *_) = Bundle(JOB / "bundle").manifest.sets
    other = msgspec.structs.replace(one, backend="executorch")
    with pytest.raises(
        BackendError, match=r"executorch/.* cannot run on ssh:near: ssh:near runs artifacts of litert, onnx"
    ):
        board.check([other], 1)
    needs = msgspec.structs.replace(one, runs_on=msgspec.structs.replace(one.runs_on, processor=("sve9",)))
    with pytest.raises(BackendError, match="needs a processor with sve9, which this board has not"):
        board.check([needs], 1)


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "a\nb"])
def test_what_is_no_host(host):
    with pytest.raises(UsageError, match="is no host; expected what you would give to ssh"):
        Ssh(host)


def test_no_host():
    assert Ssh().available()[0].what == "ssh:HOST"
    with pytest.raises(UsageError, match="ssh has to be told which board"):
        Ssh().check((), 1)


def test_no_ssh_here(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="there is no ssh here; install OpenSSH's client"):
        Ssh("near").check((), 1)


def test_a_connection_that_is_lost_leaves_nothing(board, job, near):
    """Neither here nor there: the process there ends with its input."""
    with board.open(job, Silent()) as session:
        assert len(_left(near)) == 1
        os.killpg(session._line.process.pid, 9)
        with pytest.raises(BackendError, match="ended by signal 9"):
            list(session.rounds(0, Silent(), "timing"))
    _until(lambda: _left(near) == [])


def test_one_measurement_at_a_time(board, job, monkeypatch):
    with (
        board.open(job, Silent()),
        pytest.raises(BackendError, match="something is measured or set up on this board already"),
    ):
        Ssh("near").open(job, Silent())


def test_what_a_loss_of_power_left_goes(board, job, near):
    (near.home / "jobs/left").mkdir(parents=True)
    with board.open(job, Silent()):
        assert not (near.home / "jobs/left").exists()


def test_what_fails_there_is_told_in_a_line(board, job, near):
    for item in ("core", "litert", "onnx"):
        (near.home / item / "numpy").unlink()
    with pytest.raises(BackendError, match="ssh:near failed: ModuleNotFoundError: No module named 'numpy'"):
        board.open(job, Silent())


def _inputs(bundle, artifacts, images):
    base = Host().outputs(bundle, artifacts, "base", images)
    given = {"base": images, "gate": base["embedding"]}
    return given | {part: base["features"] for part in bundle.manifest.parts if part.startswith("expert")}


def _left(near):
    return [one for one in (near.home / "jobs").iterdir() if one.is_dir()]


def _until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
