"""What a device gets to load: numpy and one small wheel, and nothing before it is used."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import edge_moe

ROOT = Path(__file__).parents[1]
BACKENDS = {"ai_edge_litert", "tflite_runtime", "onnxruntime", "executorch"}
TRAINING = {"torch", "torchvision", "sklearn", "safetensors", "litert_torch", "ai_edge_quantizer", "onnx", "torchao"}
HEAVY = {"PIL", "typer", "rich", "matplotlib", "psutil", "scipy"} | BACKENDS | TRAINING


def imported_by(statement: str) -> set[str]:
    """Return the top-level packages in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import edge_moe",
        "import edge_moe.runtime, edge_moe.evaluate, edge_moe.verify, edge_moe.preprocess, edge_moe.data, edge_moe.cli",
        "from edge_moe.backends import get, names\nfor name in names(): get(name)",
        "import edge_moe.pool, edge_moe.worker",
    ],
)
def test_core_imports_neither_torch_nor_a_backend_nor_pillow(statement):
    found = imported_by(statement)
    assert found & HEAVY == set()
    assert found - imported_by("import numpy, msgspec, multiprocessing") - sys.stdlib_module_names == {"edge_moe"}


def test_of_the_core_only_what_forms_intervals_needs_scipy():
    stems = {file.stem for file in (ROOT / "edge_moe").glob("*.py")} - {"__init__", "intervals", "points"}
    found = imported_by(f"import {', '.join(f'edge_moe.{stem}' for stem in sorted(stems))}")
    assert found & HEAVY <= {"PIL"}
    assert "scipy" in imported_by("import edge_moe.points")


def test_what_comes_before_ctrl_c_is_answered():
    assert imported_by("from edge_moe.cli import main") - imported_by("import signal") == {"edge_moe"}


def test_what_the_package_offers_is_there_and_nothing_else():
    assert set(edge_moe.__all__) <= set(dir(edge_moe))
    with pytest.raises(AttributeError, match="module 'edge_moe' has no attribute 'Nothing'"):
        edge_moe.Nothing  # noqa: B018


def test_a_prediction_imports_no_torch(make_bundle):
    path = make_bundle()
    found = imported_by(
        "import numpy as np\nfrom edge_moe import Runtime\nfrom tests.fakes import FakeBackend\n"
        f"Runtime({str(path)!r}, backend=FakeBackend()).predict(np.zeros((9, 9, 3), np.uint8))"
    )
    assert found & HEAVY == {"PIL"}


def test_public_names():
    assert edge_moe.__all__ == [
        "BackendError",
        "Bundle",
        "BundleError",
        "CheckpointError",
        "ConversionError",
        "DataError",
        "EdgeMoeError",
        "IntegrityError",
        "Manifest",
        "MissingExtraError",
        "OutputError",
        "Prediction",
        "Runtime",
        "UsageError",
        "__version__",
    ]
    assert all(hasattr(edge_moe, name) for name in edge_moe.__all__)


def test_version_is_the_package_s():
    """One number: pyproject.toml takes it from the package, and the file of changes has it first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "edge_moe.__version__"}
    heads = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == edge_moe.__version__
