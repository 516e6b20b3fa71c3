"""Parts in processes of their own: what goes wrong there is told here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edge_moe.converters import litert, workers
from edge_moe.errors import CheckpointError, ConversionError
from edge_moe.progress import Silent
from edge_moe.training.checkpoint import load_checkpoint


def job(checkpoint, folder, part="gate"):
    np.save(folder / "samples.npy", np.zeros((2, 1, 576), np.float32))
    target = {"fp32": folder / f"{part}.tflite"}
    return workers.Job(checkpoint=checkpoint, part=part, samples=folder / "samples.npy", targets=target)


@pytest.mark.parametrize("part", ["base", "gate", "expert_00", "expert_01"])
def test_the_part_that_is_loaded(tiny_checkpoint, tmp_path, part):
    mixture = load_checkpoint(tiny_checkpoint).mixture
    expected = {"base": mixture.base, "gate": mixture.gate}.get(part) or mixture.experts[int(part[-1])]
    found = workers.load(job(tiny_checkpoint, tmp_path, part)).state_dict()
    assert found.keys() == expected.state_dict().keys()
    assert all(found[key].equal(value) for key, value in expected.state_dict().items())


def test_an_error_names_the_part(tiny_checkpoint, tmp_path, monkeypatch):
    def refuse(*_):
        raise ConversionError("litert-torch cannot convert this gate")

    monkeypatch.setattr(litert, "export", refuse)
    with pytest.raises(ConversionError, match=r"^gate: litert-torch cannot convert this gate$"):
        workers._convert(job(tiny_checkpoint, tmp_path))


class Deadly(type(Path())):
    """A path that ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (9,)


def test_a_process_that_is_killed(tiny_checkpoint, tmp_path):
    with pytest.raises(ConversionError, match=r"a process that converts was killed, .*; use --jobs 1") as caught:
        workers.convert_parts([job(Deadly(tiny_checkpoint), tmp_path)], 1, tmp_path, Silent())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "gate.tflite").exists()


def test_an_error_in_a_process_arrives_as_it_is(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a folder; expected a checkpoint"):
        workers.convert_parts([job(tmp_path / "nowhere", tmp_path)], 1, tmp_path, Silent())


def test_the_last_words_of_a_log(tmp_path):
    log = tmp_path / "convert.log"
    assert workers._last_line(log) == ""
    log.write_bytes(b"first\nlast \xff words\n\n")
    assert workers._last_line(log) == " (last words: last \N{REPLACEMENT CHARACTER} words)"
