"""What the quantizers make by themselves: what is asked for, and that it is called as it must be."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import Bundle, Runtime
from edge_moe.benchmarks.peers import stock
from edge_moe.converters.recipes import book
from edge_moe.data import open_data
from edge_moe.progress import Silent
from edge_moe.sets import SetKey
from tests.tiny import one_thread

DRAW = np.random.default_rng(0)
SAMPLES = {"base": DRAW.normal(size=(2, 1, 4, 4, 3)), "expert": DRAW.normal(size=(2, 1, 2, 2, 5))}


@pytest.fixture
def converted(monkeypatch):
    """The jobs that would have been converted."""
    jobs = []

    def convert(some, processes, folder, progress):
        assert processes == 1  # nothing else should run beside a measurement
        jobs.extend(some)
        for job in some:
            ((_, file),) = job.targets
            file.write_bytes(b"artifact")

    monkeypatch.setattr(stock, "carry_out", convert)
    return jobs


def test_base_and_expert_of_every_backend_that_is_asked_for(converted, tmp_path):
    files = stock.make_stock(["onnx", "litert"], tmp_path / "checkpoint", SAMPLES, tmp_path / "a/stock", Silent())
    keys = {SetKey(backend, book(backend).stock.name) for backend in ("litert", "onnx")}
    assert {kind: set(of_kind) for kind, of_kind in files.items()} == {"base": keys, "expert": keys}
    assert len({file for of_kind in files.values() for file in of_kind.values()}) == 4
    assert len({job.graph for job in converted}) == 4
    assert {(job.backend, job.part) for job in converted} == {
        (backend, part) for backend in ("litert", "onnx") for part in ("base", "expert_00")
    }
    for job in converted:
        ((recipe, file),) = job.targets
        kind = "base" if job.part == "base" else "expert"
        assert (recipe, file) == (book(job.backend).stock, files[kind][SetKey(job.backend, recipe.name)])
        assert job.checkpoint == tmp_path / "checkpoint"
        np.testing.assert_array_equal(np.load(job.samples), SAMPLES[kind])


def test_what_is_there_is_not_made_again(converted, tmp_path):
    first = stock.make_stock(["litert"], tmp_path, SAMPLES, tmp_path, Silent())
    first["expert"][SetKey("litert", "int8-stock")].unlink()
    converted.clear()
    assert stock.make_stock(["litert"], tmp_path, SAMPLES, tmp_path, Silent()) == first
    assert [job.part for job in converted] == ["expert_00"]
    converted.clear()
    stock.make_stock(["litert"], tmp_path, SAMPLES, tmp_path, Silent())
    assert converted == []


@pytest.fixture(scope="module")
def real(own_bundle, own_checkpoint, tiny_images, tmp_path_factory, _made_before):
    """LiteRT's stock artifacts of a small network, with images and features, and the logits in float32."""
    manifest = Bundle(own_bundle).manifest
    samples, expected = {"base": [], "expert": []}, {"base": [], "expert": []}
    with Runtime(own_bundle, backend="litert", recipe="fp32") as runtime:
        base, expert = runtime.part("base"), runtime.part("expert_00")
        for x in open_data(str(tiny_images), "val").sample(8).tensors(manifest.preprocessing):
            base.invoke(x)
            expert.invoke(base.output("features"))
            samples["base"].append(x)
            samples["expert"].append(base.output("features"))
            expected["base"].append(base.output("logits"))
            expected["expert"].append(expert.output("logits"))
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(stock, "carry_out", _made_before)
        stacked = {kind: np.stack(rows) for kind, rows in samples.items()}
        folder = tmp_path_factory.mktemp("stock")
        return stock.make_stock(["litert"], own_checkpoint, stacked, folder, Silent()), samples, expected


@pytest.mark.parametrize("kind", ["base", "expert"])
def test_litert_s_takes_and_gives_integers(real, kind):
    files, samples, expected = real
    ((key, file),) = files[kind].items()
    found = []
    for x in samples[kind]:
        logits = stock.stock_call(key, file, 1, x)()
        assert logits.dtype == np.int8
        assert logits.shape == expected[kind][0].shape
        found.append(logits[0])
    correlation = np.corrcoef(np.ravel(found), np.ravel(expected[kind]))[0, 1]
    assert correlation > 0.8  # calibrated on whatever came first


def test_others_are_called_as_any_part(own_bundle):
    bundle = Bundle(own_bundle)
    file = bundle.path / bundle.manifest.find("onnx", "fp32").parts["base"].file
    x = DRAW.normal(size=(1, 32, 32, 3)).astype(np.float32)
    found = stock.stock_call(SetKey("onnx", "int8-stock"), file, 1, x)()
    with Runtime(bundle, backend="onnx", recipe="fp32") as runtime:
        runtime.part("base").invoke(x)
        np.testing.assert_array_equal(found, runtime.part("base").output("logits"))
