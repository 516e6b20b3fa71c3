"""What is not installed, and what is and cannot be loaded: real modules in a folder."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edge_moe import BackendError
from edge_moe.backends.imported import imported, installed, version_of

_BROKEN = {
    "a missing library": ("import missing_library_of_it", "No module named 'missing_library_of_it'"),
    "its own words": ("raise ImportError('DLL load failed')", "DLL load failed"),
    "the loader's": ("raise OSError('libfoo.so: wrong ELF class\\nmore')", "libfoo.so: wrong ELF class"),
    "another numpy's": ("raise AttributeError('_ARRAY_API not found')", "_ARRAY_API not found"),
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda code: (tmp_path / "a_runtime.py").write_text(code)
    sys.modules.pop("a_runtime", None)


@pytest.mark.parametrize("kind", _BROKEN)
def test_what_cannot_be_loaded_is_one_line_with_versions(module, kind):
    code, words = _BROKEN[kind]
    module(code)
    with pytest.raises(BackendError, match="a-runtime of unknown version is installed, but cannot") as caught:
        imported("a_runtime", "a-runtime")
    assert words in str(caught.value)
    assert f"numpy {np.__version__}" in str(caught.value)
    assert str(caught.value).endswith("pip install --upgrade a-runtime numpy")


def test_a_shared_object_that_is_none(tmp_path, monkeypatch):
    (tmp_path / "a_runtime.so").write_bytes(b"no ELF")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"cannot be loaded beside numpy .* \(.*a_runtime\.so"):
        imported("a_runtime", "a-runtime")


def test_what_is_not_installed_is_another_thing():
    with pytest.raises(ModuleNotFoundError):
        imported("no_such_runtime", "no-such-runtime")
    with pytest.raises(ModuleNotFoundError):
        imported("no_such_runtime.inside", "no-such-runtime")


def test_versions(module):
    module("__version__ = '1.2.3'")
    assert version_of(imported("a_runtime", "a-runtime"), "a-runtime") == "1.2.3"
    assert version_of(sys, "numpy") == np.__version__
    assert version_of(sys, "a-runtime") == "unknown version"


def test_another_package_with_the_same_module_counts(tmp_path, monkeypatch):
    """As onnxruntime-gpu brings onnxruntime."""
    (tmp_path / "a_runtime.py").write_text("")
    described = tmp_path / "a_runtime_gpu-4.5.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: a-runtime-gpu\nVersion: 4.5\n")
    (described / "top_level.txt").write_text("a_runtime\n")
    assert installed("a-runtime") is None
    monkeypatch.syspath_prepend(tmp_path)
    assert installed("a-runtime") == "4.5"
    assert installed("numpy") == np.__version__
