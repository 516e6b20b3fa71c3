"""How far a device is off, by one that is off by a hundredth, and one that is not."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import backends
from edge_moe.benchmarks.elsewhere import run_each
from edge_moe.benchmarks.studies import rounding
from edge_moe.bundle import Bundle


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_every_output_of_every_part(own_bundle, factor):
    bundle, fed = Bundle(own_bundle), {}
    artifacts = bundle.manifest.sets[0]
    spec = bundle.manifest.parts["base"].inputs[0]
    images = np.random.default_rng(0).standard_normal((3, *spec.shape[1:])).astype(np.float32)

    def run(bundle, artifacts, part, inputs):
        fed[part] = inputs.shape[0]
        opened = backends.get(artifacts.backend).open(bundle.read(artifacts.parts[part]))
        found = run_each(opened, [one.name for one in bundle.manifest.parts[part].outputs], inputs)
        opened.close()
        return {name: values * np.float32(factor) for name, values in found.items()}

    found = rounding.differences(run, bundle, artifacts, images)
    parts = bundle.manifest.parts
    assert set(found) == {f"{part}.{one.name}" for part, spec in parts.items() for one in spec.outputs}
    assert fed == dict.fromkeys(parts, 3)
    for errors in found.values():
        assert errors == pytest.approx([factor - 1] * 3, abs=1e-6)


def test_the_table(own_bundle, monkeypatch, capsys):
    monkeypatch.setattr(rounding, "differences", lambda *_: {"gate.logits": np.array([0.1, 0.2, 0.4])})
    key = Bundle(own_bundle).manifest.sets[0].key
    rounding.main([str(own_bundle), "--device", "qnn:QCS9100", "--set", str(key), "--images", "2"])
    assert capsys.readouterr().out.splitlines()[-1] == f"| {key} | gate.logits | 2.0e-01 | 4.0e-01 |"
