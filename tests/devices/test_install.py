"""docs/installing.md: its lines are run in environments that have nothing, and the device's core answers there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from tests.fixtures import JOB

pytestmark = pytest.mark.devices

ROOT = Path(__file__).parents[2]
LINES = re.findall(r"^    (pip install '.*)$", (ROOT / "docs/installing.md").read_text(), re.MULTILINE)
ANSWERS = """
import sys
import numpy as np
from edge_moe import Runtime, __version__
with Runtime("bundle") as model, np.load("bundle/golden/inputs.npz") as inputs:
    sample = model.artifacts.golden.samples[0]
    model.tau, model.max_experts = sample.tau, sample.max_experts
    assert model.predict_tensor(inputs[sample.input]).index == sample.label
assert "torch" not in sys.modules
print(__version__)
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A clone of what stands here, with what is not committed yet."""
    clone = tmp_path_factory.mktemp("clone") / "edge-moe"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    changed = subprocess.run(
        ["git", "ls-files", "--modified", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in filter(None, changed.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", clone]
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "As it stands"], check=True)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    return clone


def test_make_wheel(checkout):
    subprocess.run(["make", "wheel", "READY="], cwd=checkout, check=True, capture_output=True)
    (wheel,) = (checkout / "dist").glob("*.whl")
    assert f"dist/{wheel.name}[litert]" in LINES[0]


@pytest.mark.parametrize("line", LINES, ids=["wheel", "git"])
def test_a_line_installs_what_answers(checkout, tmp_path, line):
    venv.create(tmp_path / "fresh", with_pip=True)
    path = f"{tmp_path / 'fresh' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    to_the_clone = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{checkout}.insteadOf"}
    to_the_clone["GIT_CONFIG_VALUE_0"] = "https://git.example.org/edge-moe"
    environment = {**os.environ, **to_the_clone, "PATH": path, "PIP_QUIET": "2"}
    subprocess.run(line, shell=True, cwd=checkout, env=environment, check=True)
    done = subprocess.run(
        [tmp_path / "fresh/bin/python", "-c", ANSWERS], cwd=JOB, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == re.search(r"edge_moe-([\d.]+)-", LINES[0])[1]
