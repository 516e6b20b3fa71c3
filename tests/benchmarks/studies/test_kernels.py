"""How far two processors are apart: by hand, and a machine against itself."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.backends import onnx_session
from edge_moe.benchmarks.studies import kernels
from edge_moe.errors import DataError


def arrays():
    """One set of one bundle, two images."""
    found = {}
    for number in ("0", "1"):
        for name, value in {"input": [9.0], "base.logits": [3.0, 4.0], "answer.scores": [0.0, 1.0]}.items():
            found[f"my bundle onnx/int8 {number} {name}"] = np.array(value, np.float32)
        found[f"my bundle onnx/int8 {number} answer.experts"] = np.array([1.0], np.float32)
    return found


def of(found, number, name, value):
    return found | {f"my bundle onnx/int8 {number} {name}": np.array(value, np.float32)}


def test_differences_by_hand():
    here = arrays()
    assert kernels.compare(here, arrays()) == {"my bundle onnx/int8": {"parts": 0.0, "answer": 0.0, "rerouted": 0}}
    there = of(of(here, 0, "base.logits", [3.0, 4.5]), 1, "base.logits", [3.0, 4.25])
    there = of(there, 1, "answer.scores", [0.25, 1.0])
    (row,) = kernels.compare(here, there).values()
    assert row == {"parts": pytest.approx(0.1), "answer": pytest.approx(0.25), "rerouted": 0}


def test_where_other_experts_answer_their_scores_do_not_count():
    here = arrays()
    there = of(of(here, 1, "answer.experts", [0.0]), 1, "answer.scores", [1.0, 0.0])
    (row,) = kernels.compare(here, there).values()
    assert row == {"parts": 0.0, "answer": 0.0, "rerouted": 1}


def test_files_that_do_not_belong_together():
    with pytest.raises(DataError, match="not of the same bundles and images; make the second with --like the first"):
        kernels.compare(arrays(), of(arrays(), 2, "base.logits", [1.0]))


def test_a_machine_and_itself(own_bundle, tmp_path, capsys, monkeypatch):
    here, there = (str(tmp_path / f"{name}.npz") for name in ("here", "there"))
    kernels.main(["answers", str(own_bundle), "-o", here, "--images", "2"])
    kernels.main(["answers", str(own_bundle), "-o", there, "--images", "2", "--like", here])
    kernels.main(["compare", here, there])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        f"| own_bundle | {name} | 0.0e+00 | 0.0e+00 | 0 |"
        for name in ("litert/int8", "litert/fp32", "onnx/int8", "onnx/fp32")
    ]
    with np.load(here) as stored:
        assert "own_bundle onnx/int8 1 expert_01.logits" in stored
    with pytest.raises(DataError, match="no own_bundle litert/int8 2 input in the other processor's answers"):
        kernels.main(["answers", str(own_bundle), "-o", there, "--images", "3", "--like", here])
    asked = []
    monkeypatch.setattr(onnx_session, "saturates", lambda: asked.append(1) or False)
    kernels.main(["answers", str(own_bundle), "-o", there, "--images", "1"])
    assert asked
    asked.clear()
    kernels.main(["answers", str(own_bundle), "-o", there, "--images", "1", "--unmended"])
    assert not asked
