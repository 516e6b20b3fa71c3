"""edge-moe serve: the page for a browser, or a folder of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.benchmarks.browser.fake import fake_libraries
from tests.cli.conftest import small_disk
from tests.fixtures import JOB
from tests.tiny import tree

BUNDLE = JOB / "bundle"
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background does not have
from edge_moe.cli import main
main()
"""


@pytest.fixture
def libraries(monkeypatch, tmp_path):
    return fake_libraries(monkeypatch, tmp_path / "cache")


def test_serve_until_ctrl_c(libraries):
    command = [sys.executable, "-c", MAIN, "serve", str(BUNDLE)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ, **pipes) as process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{url}bundle/manifest.json") as answer:
                assert answer.read() == (BUNDLE / "manifest.json").read_bytes()
            assert process.stdout.readline() == "Ctrl-C ends it\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
            assert process.stderr.read() == "edge-moe: error: stopped; the page is gone\n"
        finally:
            process.kill()  # else what failed would wait for it for ever


def test_export(cli, libraries, tmp_path):
    out = tmp_path / "site"
    done = cli("serve", BUNDLE, "--export", out)
    assert done.code == 0
    assert "for any web server; open its index.html there" in done.out
    there = tree(out)
    assert {"index.html", "site.json", "page/app.js", "library/litert/index.js", "bundle/manifest.json"} <= there.keys()
    assert "measure.html" not in there
    of_bundle = {name.removeprefix("bundle/"): digest for name, digest in there.items() if name.startswith("bundle/")}
    assert of_bundle == tree(BUNDLE)
    cli("serve", BUNDLE, "--export", out).refused(1, "exists already", "--force")
    assert cli("serve", BUNDLE, "--export", out, "--force").code == 0
    assert tree(out) == there
    (out / "notes.txt").write_text("mine")
    cli("serve", BUNDLE, "--export", out, "--force").refused(1, "notes.txt", "did not write")


def test_no_space(cli, libraries, tmp_path):
    with small_disk(60_000):
        cli("serve", BUNDLE, "--export", tmp_path / "site").refused(1, "cannot write", "base.tflite")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--lan", "--export", "site"], 2, ["--export", "leave --lan and --port out"]),
        (["--force"], 2, ["--force is for --export"]),
    ],
)
def test_what_does_not_go_together(cli, libraries, arguments, code, words):
    cli("serve", BUNDLE, *arguments).refused(code, *words)


def test_what_cannot_be_served(cli, libraries, make_bundle, tmp_path):
    cli("serve", tmp_path / "nothing").refused(1, "is not a folder", "edge-moe convert")
    cli("serve", make_bundle()).refused(1, "a browser runs artifacts of litert", "--backend litert")


def test_it_has_to_be_set_up(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path / "empty"))
    cli("serve", BUNDLE).refused(1, "LiteRT.js is not set up: run 'edge-moe devices setup browser'")
    cli("serve", BUNDLE, "--export", tmp_path / "site").refused(1, "edge-moe devices setup browser")
    assert not (tmp_path / "site").exists()
