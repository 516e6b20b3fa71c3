"""Unfinished work and folders of others, as the command line meets them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_moe.ledger import keep
from edge_moe.lock import acquire
from edge_moe.work import making
from tests.tiny import tree

NETWORK = ("--base", "tests.own:network", "--image-size", 32)


@pytest.fixture
def commands(own_checkpoint, own_bundle, tiny_images, tmp_path):
    """Name -> what makes tmp_path / "m"; a report is not read before its place is known to be free."""
    report = tmp_path / "report"
    parts = [own_checkpoint / f"{part}.safetensors" for part in ("base", "gate", "expert_00", "expert_01")]
    given = ("--base", parts[0], "--gate", parts[1], "--experts", *parts[2:])
    made = {
        "train": ("train", tiny_images, *NETWORK, "--experts", 2, "--epochs", 1, "--expert-epochs", 1, "--jobs", 1),
        "init": ("init", *NETWORK, "--experts", 2, "--classes", 3),
        "import": ("import", *given, "--architecture", "tests.own:network", "--image-size", 32),
        "convert": ("convert", own_checkpoint, "--data", tiny_images),
        "report": ("report", report),
        "simulate": ("simulate", own_bundle, "--profile", report / "results.json", "--data", "noise"),
        "pack": ("pack", "--play", own_bundle),
        "bench": ("bench", own_bundle, "--data", "noise", "--images", 2, "--rounds", 1),
    }
    return {name: (*command, "-o", tmp_path / "m") for name, command in made.items()}


COMMANDS = ("train", "init", "import", "convert", "report", "simulate", "pack", "bench")


def place(tmp_path: Path, name: str) -> Path:
    return tmp_path / ("m.unfinished" if name == "bench" else "m.partial")


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_of_somebody_is_never_removed(cli, commands, tmp_path, name, force):
    folder = place(tmp_path, name)
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    before = tree(tmp_path)
    done = cli(*commands[name], *force)
    done.refused(1, str(folder), "holds files that edge-moe did not write (thesis.txt)", "rename it", progress=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("train", "bench")])
def test_hours_of_unfinished_training_stay(cli, commands, tmp_path, name, force):
    with making(tmp_path / "m", "train") as work:
        work.take_up({"seed": 0})
        keep(work.folder / "base.safetensors", b"hours")
    before = tree(tmp_path)
    done = cli(*commands[name], *force)
    done.refused(1, "holds an unfinished run of 'edge-moe train' (base.safetensors)", "rm -r", progress=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_command_says_who_is_first(cli, commands, tmp_path, name):
    code = "import sys; from pathlib import Path; from edge_moe.lock import acquire\n"
    code += "held = acquire(Path(sys.argv[1]), 'edge-moe convert'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "m")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        before = tree(tmp_path)
        done = cli(*commands[name])
        words = f"m is being made by 'edge-moe convert' (process {first.pid}, since 20"
        done.refused(1, words, "wait until that is done", progress=True)
        assert tree(tmp_path) == before
        first.send_signal(signal.SIGKILL)
        first.wait()
    acquire(tmp_path / "m", "edge-moe init").release()  # nothing is left of it
    assert not (tmp_path / ".m.edge-moe.lock").exists()


def test_an_expert_alone_waits_for_nobody(cli, own_checkpoint, tmp_path):
    shutil.copytree(own_checkpoint, tmp_path / "m")
    lock = acquire(tmp_path / "m", "edge-moe train")
    try:
        cli("train", "x", "-o", tmp_path / "m", "--only-expert", 0).refused(1, "m is being made by", progress=True)
    finally:
        lock.release()


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("place", [".", "..", "/", "../../.."])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_without_a_name_of_its_own(cli, commands, tmp_path, monkeypatch, name, place, force):
    (tmp_path / "in/it").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "in/it")
    before = tree(tmp_path)
    done = cli(*commands[name][:-1], place, *force)
    done.refused(1, f"{Path(place)} ", "choose another target", progress=name == "bench")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_an_expert_of_a_checkpoint_that_is_the_current_folder(cli, own_checkpoint, tmp_path, monkeypatch, place):
    shutil.copytree(own_checkpoint, tmp_path / "m")
    (tmp_path / "m/in").mkdir()
    monkeypatch.chdir(tmp_path / "m" / ("in" if place == ".." else ""))
    before = tree(tmp_path)
    done = cli("train", "x", "-o", place, "--only-expert", 0)
    words = "files that edge-moe did not write" if place == "/" else "is, or contains, the current folder"
    done.refused(1, f"{place} ", words, "choose another target")
    assert tree(tmp_path) == before
