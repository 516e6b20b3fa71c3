"""edge-moe bench: files, table, what is refused before it measures, and what a stopped run keeps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from edge_moe import DataError
from edge_moe.benchmarks import request, results
from edge_moe.benchmarks.options import BenchOptions
from edge_moe.benchmarks.peers import stock
from edge_moe.benchmarks.targets.host import session as host
from edge_moe.bundle import Bundle
from tests.benchmarks.conftest import hurry
from tests.cli.conftest import small_disk
from tests.tiny import SETS, VALIDATION_IMAGES, tree, visible

FAST = ("--images", 4, "--rounds", 1, "--cold-starts", 0)
ONE_SET = ("--recipe", "litert/int8", "--tau", 0.5)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    hurry(monkeypatch)


def test_bench(cli, tiny_bundle, tiny_images, tmp_path):
    done = cli("bench", tiny_bundle, "--data", tiny_images, "-o", tmp_path / "report", *FAST)
    assert done.code == 0, done.err
    assert "error" not in done.err
    assert sorted(tree(tmp_path)) == ["report", *sorted(f"report/{file.name}" for file in written(tmp_path / "report"))]
    files = [tmp_path / "report" / name for name in ("report.html", "results.json", "results.md")]
    assert {str(file) for file in files} <= set(done.out.splitlines())
    assert all(file.stat().st_size > 1000 for file in files)
    found = results.load(tmp_path / "report/results.json")
    assert (len(found.timed), found.rounds, found.images, found.threads) == (4, 1, VALIDATION_IMAGES, 1)
    assert (found.complete, found.sittings, found.target, found.peers) == (True, 1, "host", ())
    assert [one.label for one in found.sets] == list(SETS)
    # The table on the screen says what the manifest says of the same images and settings; the default comes last.
    titles = [line for line in done.out.splitlines() if f", {VALIDATION_IMAGES} images, 1 thread(s)" in line]
    assert [title.split(",")[0].strip() for title in titles] == list(SETS[::-1])
    for point in Bundle(tiny_bundle).operating_sets[SETS[0]].operating_points:
        row = (f" {point.tau:.3g} ", f"{point.exit_rate:.1%}", f"{point.accuracy:.2%}")
        assert any(all(cell in line for cell in row) for line in done.out.splitlines()), row


def written(report):
    return [file for file in report.rglob("*") if file.is_file()]


def test_chosen_settings(cli, tiny_bundle, tmp_path):
    options = ("--tau", 0.3, "--tau", 0.1, "--max-experts", 2, "--max-experts", 1, "--validation-images", 9)
    options += ("--backend", "onnx", "--recipe", "fp32", "--device", "host", "--seed", 3)
    done = cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / "report", *options, *FAST, "--threads", 2)
    assert done.code == 0, done.err
    found = results.load(tmp_path / "report/results.json")
    (one,) = found.sets
    taus = [0.0, 0.1, 0.3, 1.0]
    assert [(p.point.max_experts, p.point.tau) for p in one.points] == [(m, tau) for m in (1, 2) for tau in taus]
    assert one.label == "onnx/fp32"
    assert (found.images, found.threads, found.data, found.labels, found.seed) == (9, 2, "noise", None, 3)


def test_whose_answers_are_costed_is_said(cli, own_bundle, tmp_path):
    given = (*FAST, *ONE_SET, "--routing", "litert/fp32", "--validation-images", 9)
    done = cli("bench", own_bundle, "--data", "noise", "-o", tmp_path / "report", *given)
    assert done.code == 0, done.err
    assert "ms, measured, with the answers of litert/fp32" in " ".join(done.out.split())
    (one,) = results.load(tmp_path / "report/results.json").sets
    assert (one.label, one.decided_by) == ("litert/int8", "litert/fp32")


def test_cold_starts_are_processes(cli, own_bundle, tmp_path):
    done = cli("bench", own_bundle, "--data", "noise", "-o", tmp_path / "report", *FAST, *ONE_SET, "--cold-starts", 1)
    assert done.code == 0, done.err
    (one,) = results.load(tmp_path / "report/results.json").sets
    assert len(one.cold_start_ms) == len(one.peak_rss_bytes) == 1
    assert not (tmp_path / "report.unfinished").exists()


@pytest.fixture
def asked(monkeypatch):
    """The options that a command comes to; nothing is measured."""
    seen = []

    def check(bundle, data, options):
        seen.append(options)
        raise DataError("enough")

    monkeypatch.setattr(request, "check", check)
    return seen


@pytest.mark.parametrize(
    ("options", "backends", "recipes"),
    [
        ([], (), ()),
        (["--backend", "litert,onnx"], ("litert", "onnx"), ()),
        (["--backend", "litert", "--backend", "onnx"], ("litert", "onnx"), ()),
        (["--backend", "litert, onnx", "--backend", "executorch"], ("litert", "onnx", "executorch"), ()),
        (["--recipe", "int8,onnx/fp32", "--recipe", "litert/fp32,"], (), ("int8", "onnx/fp32", "litert/fp32")),
    ],
)
def test_names_with_commas_and_repeated(cli, tmp_path, asked, options, backends, recipes):
    cli("bench", "bundle", "--data", "noise", "-o", tmp_path / "report", *options).refused(1, "enough")
    assert [(one.backends, one.recipes) for one in asked] == [(backends, recipes)]
    assert tree(tmp_path) == {}


def test_sets_with_commas_and_repeated(cli, tmp_path, asked):
    given = ("--set", "litert/int8, onnx", "--set", "litert/fp32")
    cli("bench", "bundle", "--data", "noise", "-o", tmp_path / "report", *given).refused(1, "enough")
    assert [one.sets for one in asked] == [("litert/int8", "onnx", "litert/fp32")]


def test_what_was_not_said_is_the_default(cli, tmp_path, asked):
    cli("bench", "bundle", "--data", "noise", "-o", tmp_path / "report").refused(1, "enough")
    assert asked == [BenchOptions()]


def test_peers_without_a_checkpoint(cli, own_bundle, tmp_path):
    done = cli("bench", own_bundle, "--data", "noise", "-o", tmp_path / "report", "--peers", *FAST, *ONE_SET)
    assert done.code == 0, done.err
    found = {(peer.name, peer.backend): peer for peer in results.load(tmp_path / "report/results.json").peers}
    assert [len(row) for row in found["base only", "litert"].raw] == [4]
    assert found["stock int8", "litert"].missing == "needs the checkpoint; repeat with --checkpoint"
    assert found["torch eager", "torch"].raw is None


def test_peers_with_a_checkpoint(cli, own_bundle, own_checkpoint, tmp_path, monkeypatch):
    one = Bundle(own_bundle).manifest.find("onnx", "int8")

    def convert(jobs, processes, folder, progress):
        for job in jobs:
            ((_, file),) = job.targets
            assert (job.backend, job.checkpoint) == ("onnx", own_checkpoint)
            shutil.copy(own_bundle / one.parts[job.part].file, file)

    monkeypatch.setattr(stock, "carry_out", convert)
    options = ("--peers", "--checkpoint", own_checkpoint, "--recipe", "onnx/int8", "--tau", 0.5)
    done = cli("bench", own_bundle, "--data", "noise", "-o", tmp_path / "report", *FAST, *options)
    assert done.code == 0, done.err
    found = results.load(tmp_path / "report/results.json").peers
    assert {peer.backend for peer in found} == {"onnx", "torch"}
    assert {"stock int8, base + expert", "torch eager, all experts", "one graph with If"} <= {p.name for p in found}
    assert all([len(row) for row in peer.raw] == [4] and peer.missing is None for peer in found)
    assert not (tmp_path / "report.unfinished").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tau", "nan"], ["tau is nan", "from 0"]),
        (["--tau", "2"], ["tau is 2", "from 0"]),
        (["--tau", "-1"], ["tau is -1", "from 0"]),
        (["--max-experts", 0], ["max_experts is 0", "from 1 to 2"]),
        (["--max-experts", 3], ["max_experts is 3", "from 1 to 2"]),
        (["--threads", 0], ["threads is 0", "from 1 to 1024"]),
        (["--images", 0], ["images", "at least 1"]),
        (["--validation-images", 0], ["validation_images", "at least 1"]),
        (["--rounds", 0], ["rounds is 0", "at least 1"]),
        (["--cold-starts", -1], ["cold_starts is -1", "at least 0"]),
        (["--seed", -1], ["--seed"]),
        (["--recipe", "int4"], ["int4", "it has litert/int8"]),
        (["--backend", "tpu"], ["tpu", "it has litert/int8"]),
        (["--backend", "litert", "--recipe", "onnx/int8"], ["is of backend 'onnx'", "expected one of litert"]),
        (["--device", "phone"], ["unknown device 'phone'", "'edge-moe devices'"]),
        (["--checkpoint", "somewhere"], ["--checkpoint is for the peers", "add --peers"]),
    ],
)
def test_options_out_of_range(cli, tiny_bundle, tmp_path, options, words):
    done = cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / "report", *options)
    done.refused(2, *words)
    assert tree(tmp_path) == {}


def test_a_checkpoint_of_another_network(cli, tiny_bundle, own_checkpoint, tmp_path):
    options = ("--peers", "--checkpoint", own_checkpoint)
    done = cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / "report", *options)
    done.refused(1, "but the bundle is mobilenet_v3_small", "give the checkpoint that the bundle was made from")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("missing", "options", "words"),
    [
        ("psutil", (), ["edge-moe bench needs psutil", "edge-moe[bench]"]),
        ("onnx", ("--peers",), ["--peers needs onnx", "edge-moe[convert]"]),
        ("torch", ("--peers", "--checkpoint", "x"), ["--checkpoint needs torch", "edge-moe[train]"]),
    ],
)
def test_packages_that_are_missing(cli, tiny_bundle, tmp_path, monkeypatch, missing, options, words):
    monkeypatch.setitem(sys.modules, missing, None)
    cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / "report", *options).refused(1, *words)
    assert tree(tmp_path) == {}


@pytest.fixture
def report(tmp_path):
    """A target that holds an earlier report."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report/results.json").write_text('{"schema_version": 1}')
    return tmp_path / "report"


def test_the_bundle_is_no_target(cli, own_bundle, tmp_path):
    bundle = shutil.copytree(own_bundle, tmp_path / "bundle")
    before = tree(tmp_path)
    done = cli("bench", bundle, "--data", "noise", "-o", bundle, *FAST, *ONE_SET, "--force")
    done.refused(1, f"{bundle} is, or contains, {bundle}, which is read", "choose another target")
    assert tree(tmp_path) == before


def test_an_existing_target(cli, tiny_bundle, tmp_path, report):
    before = tree(tmp_path)
    command = ("bench", tiny_bundle, "--data", "noise", "-o", report, *FAST, *ONE_SET)
    cli(*command).refused(1, str(report), "exists already", "--force")
    assert tree(tmp_path) == before
    assert cli(*command, "--force").code == 0
    assert results.load(report / "results.json").rounds == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]
    cli(*command).refused(1, str(report), "exists already", "--force")  # complete: nothing to go on with


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        ("manuscript", "choose another target"),
        ("file", "expected the name of a folder"),
        ("file/report", "choose another target"),
    ],
)
def test_a_target_that_is_not_ours_or_no_folder(cli, tiny_bundle, tmp_path, target, advice):
    (tmp_path / "manuscript").mkdir()
    (tmp_path / "manuscript/chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    before = tree(tmp_path)
    done = cli("bench", tiny_bundle, "--data", "noise", "-o", tmp_path / target, "--force")
    done.refused(1, str(tmp_path / target), advice)
    assert tree(tmp_path) == before


def test_a_disk_without_space_for_a_round(cli, tiny_bundle, tmp_path, report):
    before = tree(tmp_path)
    with small_disk(2000):
        done = cli("bench", tiny_bundle, "--data", "noise", "-o", report, *FAST, *ONE_SET, "--force")
    done.refused(1, "cannot write", "report", progress=True)
    assert tree(tmp_path) == before


def test_a_disk_that_is_full_when_it_reports_leaves_the_rounds(cli, tiny_bundle, tmp_path, report, monkeypatch):
    before = tree(report)
    command = ("bench", tiny_bundle, "--data", "noise", "-o", report, *FAST, *ONE_SET, "--force")
    with small_disk(60_000):
        done = cli(*command)
    done.refused(1, "cannot write", "report", progress=True)
    assert tree(report) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "report.unfinished"]
    assert visible(tmp_path / "report.unfinished") == ["opening.json", "round-0000.json", "trace-litert-int8.json"]
    monkeypatch.setattr(host.HostSession, "round", lambda *_: pytest.fail("measured again"))
    assert cli(*command).code == 0
    assert results.load(report / "results.json").sittings == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


@pytest.fixture
def stop_in(monkeypatch):
    """stop_in(number) presses Ctrl-C in that round; stop_in(None) does not. `.measured` are the rounds that ran."""
    real = host.HostSession.round

    def round(self, number, progress, step):
        if number == at[-1]:
            raise KeyboardInterrupt
        at[0].append(number)
        return real(self, number, progress, step)

    at = [[], None]
    monkeypatch.setattr(host.HostSession, "round", round)

    def stop(number):
        at[-1] = number

    stop.measured = at[0]
    return stop


THREE = ("--images", 4, "--rounds", 3, "--cold-starts", 0, *ONE_SET)


def stopped(done, code, *words):
    """The last line is the error; a machine that was busy may be remarked upon before."""
    line = done.err.splitlines()[-1]
    assert done.code == code, done
    assert line.startswith("edge-moe: error: "), done.err
    assert all(word in line for word in words), line


def test_ctrl_c_leaves_a_partial_report_and_the_same_command_goes_on(cli, own_bundle, tmp_path, stop_in):
    out = tmp_path / "report"
    command = ("bench", own_bundle, "--data", "noise", "-o", out, *THREE)
    stop_in(2)
    done = cli(*command)
    stopped(done, 130, "stopped after 2 of 3 rounds", str(out), "marked partial", "repeat the command to go on")
    assert "PARTIAL: 2 of 3 rounds" in done.out
    found = results.load(out / "results.json")
    assert (found.complete, found.rounds, found.rounds_asked, found.sittings) == (False, 2, 3, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "report.unfinished"]
    partial, rows = tree(tmp_path), [point.raw for point in found.sets[0].points]

    done = cli(*command, "--tau", 0.25)
    words = "with other settings (taus was [0.5], now [0.25, 0.5]); repeat that command"
    stopped(done, 1, "report.unfinished holds an unfinished run of 'edge-moe bench'", words, "rm -r")
    assert tree(tmp_path) == partial

    stop_in(None)
    done = cli(*command)
    assert done.code == 0, done.err
    assert "PARTIAL" not in done.out
    assert stop_in.measured == [0, 1, 2]
    found = results.load(out / "results.json")
    assert (found.complete, found.rounds, found.sittings) == (True, 3, 2)
    assert [point.raw[:2] for point in found.sets[0].points] == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


def test_ctrl_c_before_the_first_round(cli, own_bundle, tmp_path, stop_in, report):
    before = tree(report)
    command = ("bench", own_bundle, "--data", "noise", "-o", report, *THREE, "--force")
    stop_in(0)
    stopped(cli(*command), 130, "stopped; what was there before is untouched")
    assert tree(report) == before
    # What the images' answers are was found out; the same command need not.
    assert (tmp_path / "report.unfinished/trace-litert-int8.json").exists()
    stop_in(None)
    assert cli(*command).code == 0
    assert results.load(report / "results.json").sittings == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


def test_force_replaces_the_report_and_drops_no_unfinished_run(cli, own_bundle, tmp_path, stop_in):
    out = tmp_path / "report"
    stop_in(1)
    stopped(cli("bench", own_bundle, "--data", "noise", "-o", out, *THREE), 130)
    stop_in(None)
    before = tree(tmp_path)
    command = ("bench", own_bundle, "--data", "noise", "-o", out, *FAST, *ONE_SET, "--force")
    stopped(cli(*command), 1, "report.unfinished holds an unfinished run", f"rm -r {out}.unfinished")
    assert tree(tmp_path) == before
    shutil.rmtree(f"{out}.unfinished")
    done = cli(*command)
    assert done.code == 0, done.err
    found = results.load(out / "results.json")
    assert (found.complete, found.rounds, found.sittings) == (True, 1, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


# The command line in a process of its own, which says when it is in round STOP and then takes a minute for it.
PROGRAM = """
import os, signal, sys, time
import pytest
from edge_moe.benchmarks.targets.host import session as host
from edge_moe.cli import main
from tests.benchmarks.conftest import hurry
hurry(pytest.MonkeyPatch())
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background does not have
real = host.HostSession.round
def round(self, number, progress, step):
    if number == int(os.environ["STOP"]):
        print("here", flush=True)
        time.sleep(60)
    return real(self, number, progress, step)
host.HostSession.round = round
main()
"""


def interrupted(command, number, how):
    """Send the signal `how` in round `number`; return exit code, stdout and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, command)],
        env={**os.environ, "STOP": str(number)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "here\n", process.stderr.read()
            process.send_signal(how)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out, err


def test_killed_then_stopped_then_finished(cli, own_bundle, tmp_path):
    out = tmp_path / "report"
    command = ("bench", own_bundle, "--data", "noise", "-o", out, *THREE)
    code, _, _ = interrupted(command, 1, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not out.exists()
    line = json.loads((tmp_path / "report.unfinished/round-0000.json").read_text())
    first = [point["costs"]["ms"] for point in line["sets"][0]["points"]]

    code, said, err = interrupted(command, 2, signal.SIGINT)
    assert (code, "PARTIAL: 2 of 3 rounds" in said) == (130, True), err
    assert err.splitlines()[-1].startswith("edge-moe: error: stopped after 2 of 3 rounds; ")
    assert "Traceback" not in err
    found = results.load(out / "results.json")
    assert (found.complete, found.rounds, found.sittings) == (False, 2, 2)
    assert [list(point.raw[0]) for point in found.sets[0].points] == first

    done = cli(*command)
    assert done.code == 0, done.err
    found = results.load(out / "results.json")
    assert (found.complete, found.rounds, found.sittings) == (True, 3, 3)
    assert [list(point.raw[0]) for point in found.sets[0].points] == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


def test_sigterm_keeps_finished_rounds_too(own_bundle, tmp_path):
    command = ("bench", own_bundle, "--data", "noise", "-o", tmp_path / "report", *THREE)
    code, said, err = interrupted(command, 1, signal.SIGTERM)
    assert (code, "PARTIAL: 1 of 3 rounds" in said) == (143, True), err
    assert err.splitlines()[-1].startswith("edge-moe: error: stopped after 1 of 3 rounds; ")


def test_what_was_measured_before_the_first_round_is_kept(own_bundle, tmp_path):
    command = ("bench", own_bundle, "--data", "noise", "-o", tmp_path / "report", *THREE)
    code, said, err = interrupted(command, 0, signal.SIGINT)
    assert (code, said) == (130, "")
    assert err.splitlines()[-1].endswith(", and what was made so far is kept: repeat the command to go on")
    assert list((tmp_path / "report.unfinished").glob("trace-*"))


REMARKS = ("busy: a compiler runs",)


def test_remarks_are_warnings(cli, own_bundle, tmp_path, monkeypatch):
    real = results.judge
    monkeypatch.setattr(results, "judge", lambda *given, **more: real(*given, **more | {"remarks": REMARKS}))
    done = cli("bench", own_bundle, "--data", "noise", "-o", tmp_path / "report", *FAST, *ONE_SET)
    assert (done.code, "edge-moe: warning: busy: a compiler runs" in done.err.splitlines()) == (0, True)


def spoiled(root, tiny_images):
    data = shutil.copytree(tiny_images, root)
    shutil.rmtree(data / "train")
    return data


def empty_class(data):
    shutil.rmtree(data / "val/down")
    (data / "val/down").mkdir()


def unknown_class(data):
    (data / "val/down").rename(data / "val/sideways")


def no_image(data):
    (data / "val/down/00.png").write_bytes(b"words")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["does not exist", "expected"]),
        (lambda data: shutil.rmtree(data / "val"), ["has no class folders", "expected"]),
        (empty_class, ["val/down has no images", "add some or remove the folder"]),
        (unknown_class, ["'sideways', which the model does not know", "across, diagonal, down"]),
        (no_image, ["down/00.png is not an image", "convert it or leave it out"]),
    ],
    ids=["missing", "empty", "empty class", "unknown class", "no image"],
)
def test_data_that_cannot_be_used(cli, tiny_bundle, tiny_images, tmp_path, spoil, words):
    data = spoiled(tmp_path / "data", tiny_images)
    spoil(data)
    before = tree(tmp_path)
    cli("bench", tiny_bundle, "--data", data, "-o", tmp_path / "report").refused(1, *words, progress=True)
    assert tree(tmp_path) == before
