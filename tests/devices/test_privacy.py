"""No command tells anybody anything: no address is looked up or called, and nothing is left in the home folder.

Each command runs once, on the smallest network, under strace; see docs/privacy.md. Sockets to other processes of this
machine (AF_UNIX) are not looked at.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_moe.brought import cache_folder
from tests.cli.test_app import COMMANDS

pytestmark = pytest.mark.devices

ROOT = Path(__file__).parent.parent.parent
_CALLED = re.compile(r"(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET6?.*")
_CACHE_OF_FONTS = {".cache", ".cache/matplotlib", ".config", ".config/matplotlib"}

# Runs the commands of a JSON list one after the other: torch is imported once, and what they start is watched too.
DRIVER = """
import json, sys
def main():
    from edge_moe.cli.app import run_app
    for arguments in json.loads(sys.argv[1]):
        sys.argv[1:] = arguments
        if code := run_app():
            sys.exit(f"edge-moe {' '.join(arguments)}: exit code {code}")
if __name__ == "__main__":
    main()
"""


def traced(folder: Path, script: str, *arguments: str, **variables: str) -> tuple[list[str], list[str]]:
    """Run a Python script in `folder` with an empty home -> the calls to the internet, what lies in the home."""
    home, trace, file = folder / "home", folder / "trace", folder / "script.py"
    home.mkdir()
    file.write_text(script)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=network", "-o", str(trace)]
    done = subprocess.run(
        [*strace, sys.executable, str(file), *arguments],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    left = [str(path.relative_to(home)) for path in sorted(home.rglob("*"))]
    return _CALLED.findall(trace.read_text(errors="replace")), left


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 8)):
        for channel, name in enumerate(("red", "green")):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 80, (32, 32, 3), np.uint8)
                pixels[..., channel] += 150
                Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "labels.txt").write_text("green\nred\n")
    return tmp_path / "images"


def test_no_command_calls_anybody_or_leaves_anything(images: Path) -> None:
    network = "--base tests.own:network --image-size 32 -k 2"
    parts = "--base ck/base.safetensors --gate ck/gate.safetensors --experts ck/expert_00.safetensors"
    commands = [
        "devices",
        "recipes",
        f"macs {network} --classes 2",
        f"init {network} --classes 2 -o new",
        f"train images {network} -o ck --epochs 1 --expert-epochs 1 --jobs 2",
        f"import {parts} ck/expert_01.safetensors --architecture tests.own:network --image-size 32 "
        "--labels labels.txt -o imported",
        "convert ck --data images --backend litert,onnx,executorch --recipe int8 --keep-going --jobs 2 -o bundle",
        "inspect bundle",
        "verify bundle",
        "run bundle images/val/red/0.png",
        "bench bundle --data images --images 2 --rounds 1 --cold-starts 1 -o report",
        "report report -o page",
        "choose bundle --results report/results.json --max-macs 1e9",
        "simulate bundle --profile report/results.json --data images",
        "serve bundle --export site",
        "pack --play bundle -o packs",
        "recalibrate bundle images --promise changed<=90%",
    ]
    assert {command.split()[0] for command in commands} == set(COMMANDS)
    # In the home folder where nobody says otherwise; that one is empty.
    cache = {"EDGE_MOE_CACHE": str(cache_folder()), "EDGE_MOE_WEIGHT_CACHE": str(images.parent / "weights")}
    called, left = traced(images.parent, DRIVER, json.dumps([command.split() for command in commands]), **cache)
    assert called == []
    assert [path for path in left if path not in _CACHE_OF_FONTS and "matplotlib/" not in path] == []


@pytest.mark.parametrize("wish", ["0", None])
def test_onnx_runtime_is_silent_unless_its_user_wants_otherwise(tmp_path: Path, wish: str | None) -> None:
    variables = {} if wish is None else {"ORT_DISABLE_TELEMETRY": wish}
    script = "import os, edge_moe, onnxruntime\nprint(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    called, left = traced(tmp_path, script, **variables)
    if wish is None:
        assert (called, left) == ([], [])
    else:
        assert any("Microsoft" in path for path in left), "this look can no longer tell; see what has changed"


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_call_would_be_seen(tmp_path: Path, address: str) -> None:
    """Addresses that are reserved for documentation: nobody is called, by a datagram that is never sent."""
    family = "AF_INET6" if ":" in address else "AF_INET"
    script = f"""
import socket
try:
    socket.socket(socket.{family}, socket.SOCK_DGRAM).connect(({address!r}, 9))
except OSError:
    pass
"""
    called, _ = traced(tmp_path, script)
    assert len(called) == 1
    assert address in called[0]
