"""Layers that are made bad on purpose: to the last bit those, in float the same, in int8 gone."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import torch
from torch import nn

from edge_moe.benchmarks.studies import bad_layer
from edge_moe.data import open_data
from edge_moe.training.checkpoint import load_checkpoint
from edge_moe.verify import relative_error
from tests.rounding import rounded

# Of MobileNetV3-Small: the last stage's residual stream is read by these 1x1 convolutions, and by nothing else.
RUINED = {"features.10.block.0.0", "features.11.block.0.0", "features.12.0"}
SCALED = {  # what of a part may differ, and how many times larger its channel 0 is
    **{f"features.{k}.block.3.1.{which}": 1e4 for k in (9, 10, 11) for which in ("weight", "bias")},
    **{f"{name}.weight": 1e-4 for name in RUINED},
}
FAR_DB = 15.0  # lies between: 8 bits leave 27 dB to every other layer, a ruined one has 0


@pytest.fixture
def good(tiny_checkpoint):
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture
def bad(tiny_checkpoint):
    loaded = load_checkpoint(tiny_checkpoint)
    bad_layer.ruin(loaded)
    return loaded


@pytest.fixture
def x(good, tiny_images):
    """Photographs [32, 3, H, W]."""
    tensors = open_data(str(tiny_images), "val").sample(32).tensors(good.config.preprocessing)
    return torch.from_numpy(np.concatenate(list(tensors)).transpose(0, 3, 1, 2).copy())


def parts(loaded):
    return {"base": loaded.mixture.base, **{f"expert_{k}": one for k, one in enumerate(loaded.mixture.experts)}}


@torch.no_grad()
def lost_in_int8(part, given):
    """Return the convolutions that answer something else when what they read and what they are is rounded to 8 bits."""
    seen = {}
    for name, module in part.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, x, y, name=name: seen.update({name: (module, x[0], y)}))
    part(given)
    assert seen.keys() > RUINED
    noise = {name: relative_error(rounded(module, x).numpy(), y.numpy()) for name, (module, x, y) in seen.items()}
    return {name for name, error in noise.items() if -20 * np.log10(error) < FAR_DB}


def test_channel_0_of_the_stream_and_nothing_else(good, bad):
    assert set(bad_layer.READERS) == RUINED
    for (name, before), after in zip(parts(good).items(), parts(bad).values(), strict=True):
        others = after.state_dict()
        for key, value in before.state_dict().items():
            found = others[key]
            if key in SCALED:
                one = (slice(None), 0) if value.ndim == 4 else 0
                assert value[one].abs().max() > 0, (name, key)
                torch.testing.assert_close(found[one], value[one] * SCALED[key], rtol=1e-6, atol=0)
                found[one] = value[one]
            assert torch.equal(found, value), (name, key)
    gates = (loaded.mixture.gate.state_dict() for loaded in (good, bad))
    assert all(torch.equal(a, b) for a, b in zip(*(gate.values() for gate in gates), strict=True))


@torch.no_grad()
def test_in_float_the_answers_are_the_same(good, bad, x):
    for before, after in zip(good.mixture(x), bad.mixture(x), strict=True):
        assert before.shape == after.shape
        assert relative_error(after.numpy(), before.numpy()) < 1e-5


def test_in_int8_these_layers_are_ruined_and_no_others(good, bad, x):
    with torch.no_grad():
        features = good.mixture.base(x).features
    for loaded, expected in ((good, set()), (bad, RUINED)):
        for name, part in parts(loaded).items():
            assert lost_in_int8(part, x if name == "base" else features) == expected, name


@torch.no_grad()
def test_in_int8_the_answers_are_others(good, bad, x):
    """8 bits everywhere, by another implementation than the backends'."""
    labels = good.mixture.base(x).logits.argmax(1)
    agreement = [(rounded(one.mixture.base, x).logits.argmax(1) == labels).float().mean() for one in (good, bad)]
    assert agreement[0] > 0.95
    assert agreement[1] < 0.6  # three classes


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bad_layer", *map(str, arguments)])
    bad_layer.main()


def test_the_command(tiny_checkpoint, bad, tmp_path, monkeypatch, capsys):
    run(monkeypatch, tiny_checkpoint, "-o", tmp_path / "bad")
    written = load_checkpoint(tmp_path / "bad")
    assert written.config == bad.config
    state = written.mixture.state_dict()
    assert state.keys() == bad.mixture.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in bad.mixture.state_dict().items())
    assert capsys.readouterr().out.strip() == str(tmp_path / "bad")


def refused(monkeypatch, capsys, *arguments):
    """Return the one line that is said of wrong input."""
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *arguments)
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert not said.out
    (line,) = said.err.splitlines()
    return line


def test_another_network_has_no_such_layers(own_checkpoint, tmp_path, monkeypatch, capsys):
    line = refused(monkeypatch, capsys, own_checkpoint, "-o", tmp_path / "bad")
    assert line == "bad_layer: error: the base is tests.own:network; expected mobilenet_v3_small"
    assert list(tmp_path.iterdir()) == []


def test_no_checkpoint(tmp_path, monkeypatch, capsys):
    line = refused(monkeypatch, capsys, tmp_path / "nowhere", "-o", tmp_path / "bad")
    assert line.startswith(f"bad_layer: error: {tmp_path / 'nowhere'} ")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tiny_checkpoint, own_checkpoint, tmp_path, monkeypatch, capsys):
    there = shutil.copytree(own_checkpoint, tmp_path / "there")
    line = refused(monkeypatch, capsys, tiny_checkpoint, "-o", there)
    assert f"{there} exists" in line
    assert load_checkpoint(there).config.architecture.base == "tests.own:network"
