"""results.json: strict, versioned, and summed up as numpy would."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from edge_moe.benchmarks import results
from edge_moe.bundle import OperatingPoint
from edge_moe.errors import DataError

POINTS = (0.0, 0.25, 1.0)


def make(*, trained=True, accuracy=0.75, recipes=("int8", "fp32")) -> results.Results:
    """Two recipes, three taus, four images in two rounds."""

    def timing(tau, slow):
        raw = tuple((slow * (2 - tau), slow * (2 - tau) + image / 100) for image in range(4))
        point = OperatingPoint(
            tau=tau,
            max_experts=1,
            samples=16,
            exit_rate=tau,
            mean_macs=2e6 - 1e6 * tau,
            accuracy=accuracy,
            accuracy_low=None if accuracy is None else max(0.0, accuracy - 0.1),
            # As Wilson's bound at 16 of 16 may be: a hair below the share itself.
            accuracy_high=None if accuracy is None else min(0.9999999999999999, accuracy + 0.1),
        )
        return results.PointTiming(point=point, raw_ms=raw, mean_ms=slow * (2 - tau), sum_of_parts_ms=slow * (2 - tau))

    return results.Results(
        schema_version=results.SCHEMA_VERSION,
        device="host",
        created="2026-01-02T03:04:05+00:00",
        machine=results.Machine(
            system="Linux x86_64",
            processor="A chip",
            logical_cpus=2,
            memory_bytes=1 << 30,
            python="3.11.7",
            load_before=0.5,
            load_after=None,
        ),
        versions={"numpy": "2.4.0"},
        bundle="birds",
        bundle_sha256="0" * 64,
        architecture="mobilenet_v3_small",
        experts=2,
        trained=trained,
        data="val",
        images=16,
        timed_images=4,
        rounds=2,
        threads=1,
        seed=0,
        sets=tuple(
            results.SetResults(
                backend="litert",
                backend_version="ai-edge-litert 2.3.0",
                recipe=recipe,
                parts=(results.PartTiming(part="base", raw_ms=(1.0, 2.0, 3.0)),),
                points=tuple(timing(tau, slow) for tau in POINTS),
            )
            for slow, recipe in enumerate(recipes, 1)
        ),
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(msgspec.json.encode(make()))
    return path


def test_round_trip(file):
    assert results.load(file) == make()


def edit(file, change):
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f.unlink(), "does not exist; expected a results.json made by 'edge-moe bench'"),
        (lambda f: f.write_bytes(f.read_bytes()[:-100]), "is not a results file: .*; measure again"),
        (lambda f: f.write_bytes(b""), "is not a results file: .*; measure again"),
        (lambda f: f.write_text("[]"), "has schema version None; this edge-moe reads 1: measure again"),
        (lambda f: edit(f, lambda r: r.update(schema_version=2)), "has schema version 2; this edge-moe reads 1"),
        (lambda f: edit(f, lambda r: r.update(more=1)), "is not a results file: .*more.*; measure again"),
        (lambda f: edit(f, lambda r: r.pop("sets")), "is not a results file: .*sets.*; measure again"),
        (lambda f: edit(f, lambda r: r["sets"][0]["parts"][0].update(raw_ms=[-1])), r"is not a results file: .*raw_ms"),
    ],
    ids=["missing", "half written", "empty", "list", "schema", "unknown key", "missing key", "negative time"],
)
def test_files_that_are_no_results(file, spoil, words):
    spoil(file)
    with pytest.raises(DataError, match=words) as caught:
        results.load(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("raw", [(4.0, 1.0, 3.0, 2.0), ((4.0, 1.0), (3.0, 2.0))])
def test_summary_by_hand(raw):
    found = results.summary(raw)
    assert (found.median_ms, found.mean_ms) == (2.5, 2.5)
    # Between sorted samples 1, 2, 3, 4 at ranks 0.3 and 2.7.
    assert (found.p10_ms, found.p90_ms) == (pytest.approx(1.3), pytest.approx(3.7))
    assert found.p10_ms == pytest.approx(float(np.quantile([1, 2, 3, 4], 0.1)))
