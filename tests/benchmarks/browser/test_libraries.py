"""What the page runs on: pinned, brought, and not used where it is another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks import browser
from edge_moe.benchmarks.browser.libraries import Libraries, problem
from tests.benchmarks.browser.fake import fake_libraries

FOLDER = Path(browser.__file__).parent


def test_the_lock_pins_what_the_page_is_said_to_need():
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    locked = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    assert {f"node_modules/{name}": version for name, version in wanted.items()} == {
        name: one["version"] for name, one in locked.items() if name
    }
    assert all(one["integrity"].startswith("sha512-") for name, one in locked.items() if name)
    assert "resolved" not in (FOLDER / "package-lock.json").read_text()  # from whatever registry


def test_they_are_brought(monkeypatch, tmp_path):
    found = fake_libraries(monkeypatch, tmp_path)
    assert problem(found) == ""
    files = found.files()
    assert {name.split("/")[0] for name in files} == {"litert", "hashes", "json-schema"}
    assert all(file.is_file() for file in files.values())
    assert found.version == "LiteRT.js 2.5.3"
    # A worker has no import map, which alone could tell what that name means.
    assert files["litert/index.js"].read_text() == '// @litertjs/core dist/index.js "./wasm-utils.js"'
    assert '"@litertjs/wasm-utils"' in files["hashes/sha2.js"].read_text()


def test_they_are_not_used_where_a_file_changed(monkeypatch, tmp_path):
    found = fake_libraries(monkeypatch, tmp_path)
    found.files()["litert/litert_wasm_internal.wasm"].write_bytes(b"other")
    with pytest.raises(BackendError, match=r"LiteRT\.js is not set up: run 'edge-moe devices setup browser'"):
        Libraries().files()
