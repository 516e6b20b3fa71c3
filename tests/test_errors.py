from __future__ import annotations

import pickle
import re

import pytest

from edge_moe import errors


def test_the_tree_is_the_one_that_is_drawn():
    drawn = set(re.findall(r"\b(\w+Error)\b", errors.__doc__))
    assert drawn == set(errors.__all__)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.EdgeMoeError)
    assert issubclass(errors.IntegrityError, errors.BundleError)


@pytest.mark.parametrize(("error", "builtin"), [("UsageError", ValueError), ("MissingExtraError", ImportError)])
def test_what_python_would_raise(error, builtin):
    assert issubclass(getattr(errors, error), builtin)


def test_exit_codes():
    codes = {name: getattr(errors, name).exit_code for name in errors.__all__}
    assert (codes.pop("UsageError"), codes.pop("StoppedError")) == (2, 130)
    assert set(codes.values()) == {1}


def test_missing_extra_says_what_to_run():
    error = errors.MissingExtraError("ai-edge-litert", "litert", "running .tflite artifacts")
    assert str(error) == (
        "running .tflite artifacts needs ai-edge-litert, which is not installed; run: pip install 'edge-moe[litert]'"
    )


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_cross_processes(name):
    arguments = ("onnx", "convert", "converting") if name == "MissingExtraError" else ("what, and what to do",)
    error = getattr(errors, name)(*arguments)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.args) == (type(error), str(error), error.args)


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "MissingExtraError"])
def test_a_message_is_one_line_that_can_be_shown(name):
    """Names in it may be anything, for they are a file's or a stranger's."""
    error = getattr(errors, name)("caf\udce9 is\nno\x1b[31m image " + "x" * 9000)
    assert str(error).startswith("caf\\xe9 is no\\x1b[31m image xxx")
    assert str(error).isprintable()
    assert len(str(error)) <= 2000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
