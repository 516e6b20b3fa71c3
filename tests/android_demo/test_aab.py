"""android_demo/play/aab.py, as far as it goes without bundletool; with it: tests/devices/test_play.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.android_demo.base_module import write_base

AAB = Path(__file__).parents[2] / "android_demo/play/aab.py"


def refused(*arguments: object) -> str:
    """What it says in one line."""
    done = subprocess.run([sys.executable, AAB, *map(str, arguments)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_packs_that_are_none(tmp_path):
    base, packs, out = write_base(tmp_path / "base.zip"), tmp_path / "packs", tmp_path / "app.aab"
    wanted = f"aab: error: {packs} has no asset packs ("
    assert refused(base, packs, "-o", out).startswith(wanted)
    packs.mkdir()
    for text in ("", "{}", '{"packs": 1}', "[]"):
        (packs / "packs.json").write_text(text)
        line = refused(base, packs, "-o", out)
        assert line.startswith(wanted)
        assert f"expected a folder made by 'edge-moe pack --play BUNDLE -o {packs}'" in line
    (packs / "packs.json").write_text(json.dumps({"packs": [{"name": "bundle"}]}))
    assert "bundle/src/main/AndroidManifest.xml is missing; make the packs again" in refused(base, packs, "-o", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.zip", "packs"]
