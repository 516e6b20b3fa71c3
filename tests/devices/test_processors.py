"""Artifacts made here answer alike as another processor: every shipped recipe, by the golden samples."""

from __future__ import annotations

import json

import pytest

from edge_moe.backends import native
from edge_moe.backends.onnx import UNSIGNED
from edge_moe.bundle import Bundle
from edge_moe.converters import recipes
from tests.devices import look
from tests.devices.conftest import SETS
from tests.devices.emulated import PROCESSORS, run_as

pytestmark = pytest.mark.devices

BACKENDS = native()
ONNX_INT8 = {f"onnx/{name}" for name in recipes.book("onnx").recipes} - {"onnx/fp32"}


@pytest.fixture(scope="module")
def seen(bundle):
    """What `look` finds as each processor."""
    found = {}
    for processor in PROCESSORS:
        done = run_as(processor, "-m", "tests.devices.look", str(bundle))
        assert done.returncode == 0, done.stderr
        found[processor] = json.loads(done.stdout.splitlines()[-1])
    return found


def failed(checks):
    return [(check["set"], check["what"], check["detail"]) for check in checks if not check["passed"]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_natively_the_golden_samples_come_out(bundle, backend):
    found = look.checks(Bundle(bundle), backend)
    assert failed(found) == []
    assert {check["set"] for check in found} - {"network", "bundle"} == {
        name for name in SETS if name.startswith(f"{backend}/")
    }


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_as_another_processor_the_golden_samples_come_out(seen, backend, processor):
    found = seen[processor]["checks"][backend]
    assert failed(found) == []
    assert {check["set"] for check in found} - {"network", "bundle"} == {
        name for name in SETS if name.startswith(f"{backend}/")
    }


def test_products_saturate_with_avx2_and_that_is_said(seen):
    """The kernels for older processors are others, and right."""
    assert {name: found["saturates"] for name, found in seen.items()} == {"avx2": True, "avx": False}
    assert {name: found["version"].endswith(UNSIGNED) for name, found in seen.items()} == {"avx2": True, "avx": False}


def test_unmended_every_int8_set_of_onnx_is_wrong_and_seen_to_be(seen):
    """The tolerances are narrow enough: where nobody asks whether products saturate, no products of 8 bits pass."""
    wrong = failed(seen["avx2"]["unmended"])
    products_of_8_bits = ONNX_INT8 - {"onnx/int8-a16", "onnx/int8-weights"}  # which a processor computes in float
    assert {name for name, _, _ in wrong} == products_of_8_bits
    for name in products_of_8_bits:
        assert {what for set_name, what, _ in wrong if set_name == name} >= {"expert_00.logits", "expert_01.logits"}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_one_graph_of_all_parts_answers_as_the_runtime(seen, processor):
    found = seen[processor]["one_graph"]
    assert found.keys() == ONNX_INT8 | {"onnx/fp32"}
    assert max(found.values()) < 1e-5


def test_as_avx2_every_product_is_the_product():
    """What the limits of a benchmark are measured on, and the sessions that everybody opens."""
    tests = ("tests/benchmarks/targets/host/test_limits.py", "tests/backends/test_onnx_session.py")
    done = run_as("avx2", "-m", "pytest", *tests, "-k", "every_product")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 passed")
