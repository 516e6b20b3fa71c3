"""An answer in words and as JSON, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_moe.prediction import Prediction


def made(experts=(2,), available=4, label="cat", gate_ran=True):
    logits = np.log(np.array([0.1, 0.7, 0.2], np.float32))
    return Prediction(label, 1, 0.7, experts, gate_ran, 8_350_000, 1.5, (0.5, (logits,)), available)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (made(), "cat 70.0% (expert 2, 1 of 4; 8.35 M MACs)"),
        (made((0, 3)), "cat 70.0% (experts 0, 3, 2 of 4; 8.35 M MACs)"),
        (made(()), "cat 70.0% (base alone, of 4 experts; 8.35 M MACs)"),
        (made((), 1), "cat 70.0% (base alone, of 1 expert; 8.35 M MACs)"),
        (made((), 0), "cat 70.0% (8.35 M MACs)"),
        (made(label="\x1b[31mcat"), "\\x1b[31mcat 70.0% (expert 2, 1 of 4; 8.35 M MACs)"),
    ],
)
def test_in_words(prediction, expected):
    assert str(prediction) == expected
    assert repr(prediction) == f"<Prediction: {expected}>"


def test_as_json_takes_it():
    prediction = made()
    prediction.macs, prediction.experts, prediction.gate_ran = np.int64(7), (np.int64(2),), np.True_
    found = json.loads(json.dumps(prediction.as_dict()))
    assert found.pop("probabilities") == pytest.approx([0.1, 0.7, 0.2])
    assert found == {
        "label": "cat",
        "index": 1,
        "probability": 0.7,
        "exited": False,
        "experts": [2],
        "gate_ran": True,
        "macs": 7,
        "milliseconds": 1.5,
    }
