"""What holds for every command: exit codes, one line on stderr, and a word about what is not installed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import edge_moe
from edge_moe.errors import EdgeMoeError

COMMANDS = (
    *(
        "bench",
        "choose",
        "convert",
        "devices",
        "import",
        "init",
        "inspect",
        "macs",
        "pack",
        "recalibrate",
        "recipes",
        "report",
    ),
    *("run", "serve", "simulate", "train", "verify"),
)

# Runs the command line where some packages are not installed.
WITHOUT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {hidden!r} else self.finder.find_spec(name, path, target)
sys.meta_path = [Without(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
sys.argv = {argv!r}
from edge_moe.cli import main
main()
"""


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


def test_help_lists_every_command(cli):
    done = cli("--help")
    assert (done.code, done.err) == (0, "")
    assert all(f" {command} " in done.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_without_its_libraries(cli, command):
    done = cli(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "--" in done.out


@pytest.mark.parametrize("arguments", [["-h"], ["--help"]])
def test_both_ways_to_ask_for_help(cli, arguments):
    assert "convert" in cli(*arguments).out
    assert "--top" in cli("run", *arguments).out


def test_the_version(cli):
    assert cli("--version").out.startswith(f"edge-moe {edge_moe.__version__}, Python {platform.python_version()}, ")
    done = subprocess.run([sys.executable, "-m", "edge_moe", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == cli("--version").out


def test_a_shell_completes_commands():
    script = Path(sys.executable).with_name("edge-moe")
    asked = {"_EDGE_MOE_COMPLETE": "complete_bash", "COMP_WORDS": "edge-moe re", "COMP_CWORD": "1"}
    done = subprocess.run([script], env=os.environ | asked, capture_output=True, text=True)
    assert done.stdout.split() == ["recipes", "report", "recalibrate"]


def test_home_is_home_also_where_the_shell_left_it(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for option in (["-o", "~/one"], ["--output=~/two"]):
        done = cli("init", *option, "--image-size", 32, "--classes", 3, "-k", 1)
        assert done.code == 0, done.err
    assert (tmp_path / "one" / "config.json").is_file()
    assert (tmp_path / "two" / "config.json").is_file()
    cli("inspect", "~other/bundle").refused(1, "~other/bundle is not a folder")


@pytest.mark.parametrize("arguments", [("inspect", ""), ("run", "bundle", "", "x.png"), ("init", "-o", "")])
def test_an_empty_argument_is_not_the_current_folder(cli, arguments):
    cli(*arguments).refused(2, "an argument is empty", "variable", "expected a name")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("train", "digits", "--batch-size", 10**20), ["batch_size is 100000000000000000000", "<= 1000000"]),
        (("train", "digits", "--learning-rate", 1e300), ["learning_rate is 1e+300", "<= 1000000"]),
        (("train", "digits", "--expert-learning-rate", 1e300), ["expert_learning_rate is 1e+300"]),
        (("train", "digits", "--weight-decay", 1e300), ["weight_decay is 1e+300"]),
        (("train", "digits", "--seed", 2**32), ["'--seed'", "less than or equal to 4294967295"]),
        (("train", "digits", "--workers", -1), ["'--workers'", "greater than or equal to 0"]),
        (("train", "digits", "-k", 10**20), ["--experts is 100000000000000000000", "at most 10,000"]),
        (("init", "--image-size", 32, "--classes", 10**9), ["classes is 1000000000", "<= 1000000"]),
        (("init", "--image-size", 32, "--experts", 10**20), ["--experts is 100000000000000000000"]),
        (("macs", "--classes", 10**20), ["classes is 100000000000000000000"]),
    ],
)
def test_numbers_that_no_machine_has_room_for(cli, tmp_path, command, words):
    target = () if command[0] == "macs" else ("-o", tmp_path / "out")
    cli(*command, *target).refused(2, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_nobody_who_listens(tiny_bundle, closed):
    script = Path(sys.executable).with_name("edge-moe")
    done = subprocess.run(f"{script} inspect {tiny_bundle} {closed}", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_numpys_words_for_a_full_disk(cli, monkeypatch):
    def raises(*_):
        raise OSError("3072 requested and 2016 written")

    monkeypatch.setattr("edge_moe.bundle.Bundle.__init__", raises)
    cli("inspect", "bundle").refused(1, "the disk is full")


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_path_that_is_too_long(cli, command):
    done = cli(command, "a" * 5000)
    done.refused(1, "too long")
    assert len(done.err) < 2100


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["fly"], "'fly'"),
        (["run"], "'bundle'"),
        (["run", "bundle"], "'images'"),
        (["run", "bundle", "cat.png", "--tau", "half"], "--tau"),
        (["run", "bundle", "cat.png", "--size", "3"], "--size"),
        (["bench", "bundle", "-o", "report"], "--data"),
        (["init", "-o", "there", "--seed", "-1"], "--seed"),
    ],
)
def test_wrong_usage_is_one_line_that_points_to_the_help(cli, arguments, word):
    cli(*arguments).refused(2, word, "--help'")


def test_the_installed_script(tmp_path):
    script = Path(sys.executable).with_name("edge-moe")
    done = subprocess.run([script, "inspect", tmp_path / "none"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"edge-moe: error: {tmp_path}/none is not a folder; expected a bundle")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped; what was there before is untouched"),
        (EdgeMoeError("one\n  two"), 1, "one two"),
        (PermissionError(13, "Permission denied", "/etc/shadow"), 1, "/etc/shadow: Permission denied; check the path"),
        (RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. "), 1, "by signal: Killed; if memory"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, "pip install 'edge-moe[train]'"),
    ],
)
def test_what_a_command_raises_becomes_one_line(cli, monkeypatch, error, code, line):
    def raises(*_):
        raise error

    monkeypatch.setattr("edge_moe.bundle.Bundle.__init__", raises)
    cli("inspect", "bundle").refused(code, line)


def test_an_error_of_ours_in_the_code_is_not_hidden(cli, monkeypatch):
    def raises(*_):
        raise ModuleNotFoundError("No module named 'edge_moe.nothing'", name="edge_moe.nothing")

    monkeypatch.setattr("edge_moe.bundle.Bundle.__init__", raises)
    with pytest.raises(ModuleNotFoundError):
        cli("inspect", "bundle")


def test_a_reader_that_has_enough(tiny_bundle):
    reading, writing = os.pipe()
    os.close(reading)
    code = f"import sys; sys.argv = ['edge-moe', 'inspect', {str(tiny_bundle)!r}]; import edge_moe.cli as c; c.main()"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("hidden", "arguments", "extra"),
    [
        (["typer"], ["macs"], "cli"),
        (["rich"], ["macs"], "cli"),
        (["torch"], ["macs"], "train"),
        (["sklearn"], ["train", "digits", "-o", "OUT"], "train"),
        (["torch"], ["convert", "CHECKPOINT", "--data", "noise", "-o", "OUT"], "convert"),
        (["ai_edge_quantizer"], ["convert", "CHECKPOINT", "--data", "noise", "-o", "OUT"], "convert"),
        (["ai_edge_litert"], ["run", "BUNDLE", "IMAGE"], "litert"),
        (["ai_edge_litert"], ["verify", "BUNDLE"], "litert"),
        (["onnxruntime"], ["verify", "BUNDLE"], "onnx"),
        (["matplotlib"], ["bench", "BUNDLE", "--data", "noise", "-o", "OUT"], "bench"),
    ],
)
def test_what_is_not_installed(tiny_bundle, tiny_checkpoint, tiny_images, tmp_path, hidden, arguments, extra):
    image = next(tiny_images.rglob("*.png"))
    places = {"BUNDLE": tiny_bundle, "CHECKPOINT": tiny_checkpoint, "IMAGE": image, "OUT": tmp_path / "out"}
    argv = ["edge-moe", *(str(places.get(word, word)) for word in arguments)]
    done = python(WITHOUT.format(hidden=hidden, argv=argv))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("edge-moe: error: ")
    assert f"pip install 'edge-moe[{extra}]'" in line
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_inspected_verified_and_run_without_torch(tiny_bundle, tiny_images):
    image = str(next(tiny_images.rglob("*.png")))
    bundle = str(tiny_bundle)
    done = python(
        "import sys\nfrom edge_moe.cli.app import run_app\n"
        f"for a in (['inspect', {bundle!r}], ['verify', {bundle!r}], ['run', {bundle!r}, {image!r}, '--json']):\n"
        "    sys.argv = ['edge-moe', *a]\n    assert run_app() == 0\n"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'matplotlib', 'litert_torch') if m in sys.modules])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
