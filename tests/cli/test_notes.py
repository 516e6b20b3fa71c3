"""What the library notes is told once, before the command goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def test_what_a_folder_holds_beside_is_told_once(cli, tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "1.png")
    (tmp_path / "train" / "cat" / "2.heic").write_text("not read")
    done = cli("train", tmp_path, "-o", tmp_path / "out", "-k", "9", "--image-size", "32")  # opens the folder twice
    first, last = done.err.splitlines()
    note = "2 images are read; left out: 1 file with other suffixes (.heic)"
    assert first == f"edge-moe: note: {tmp_path / 'train'}: {note}"
    assert last.startswith("edge-moe: error: 9 experts need at least as many training images; found 2")
    assert done.code == 2


@pytest.fixture
def caf(tmp_path: Path) -> Path:
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "1.png")
        (tmp_path / "1.png").rename(file)
    except OSError:
        pytest.skip("this file system takes text only")
    return file


def test_a_file_whose_name_is_no_text_is_answered_for(cli, own_bundle, caf):
    done = cli("run", "--json", own_bundle, caf)
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)
    assert row["image"] == str(caf.parent / "caf\\xe9.png")


def test_a_terminal_that_cannot_show_a_name_shows_something(own_bundle, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "猫.png")
    code = "from edge_moe.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(own_bundle), str(tmp_path / "猫.png")],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert b"u732b.png" in done.stdout


def test_a_folder_whose_name_is_not_in_utf_8(cli, own_checkpoint, tiny_images, tmp_path, monkeypatch, made_here):
    """Whoever works in such a folder can convert all the same: locks and marks name it in ASCII."""
    here = tmp_path / os.fsdecode(b"caf\xe9")
    here.mkdir()
    monkeypatch.chdir(here)
    done = cli("convert", own_checkpoint, "--data", tiny_images, "-o", "bundle", "--recipe", "int8", "--no-measure")
    assert done.code == 0, done.err
    assert cli("verify", "bundle").code == 0
    cli("report", os.fsdecode(b"no\xe9.json"), "-o", "out").refused(1, "no\\xe9.json does not exist")
    assert cli("init", "-o", os.fsdecode(b"ck\xe9"), "--image-size", 32, "--classes", 3, "-k", 1).code == 0
