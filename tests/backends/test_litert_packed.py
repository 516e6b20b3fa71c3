"""Parts of LiteRT whose weights are mapped: the same answers, and never a wrong one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_moe import BackendError, Bundle, Runtime, UsageError
from edge_moe.backends import litert_packed
from edge_moe.backends.litert import LiteRT, LiteRTPart
from edge_moe.backends.litert_packed import PackedPart
from edge_moe.packed import Packed
from edge_moe.records import sha256
from tests.backends.test_litert import X, convert, tiny

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="weights are mapped on Linux alone")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("part") / "part.tflite"
    path.write_bytes(convert(tiny(), X))
    return path


@pytest.fixture
def store(tmp_path) -> Packed:
    return Packed(tmp_path / "weights")


def opened(file: Path, store: Packed, threads: int = 1):
    return LiteRT().open_packed(file, sha256(file.read_bytes()), store, threads=threads)


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "weights").glob("*"))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_answers_are_those_of_the_interpreter_to_the_last_bit(file, store, tmp_path, threads):
    plain = LiteRT().open(file.read_bytes(), threads=threads)
    for _ in range(2):  # laid out, then found
        part = opened(file, store, threads)
        assert isinstance(part, PackedPart)
        for x in (X, -X, np.asfortranarray(X)):
            plain.invoke(np.ascontiguousarray(x))
            part.invoke(x)
            for name in ("logits", "features", "embedding"):
                np.testing.assert_array_equal(part.output(name), plain.output(name))
        part.close()
    assert len(kept(tmp_path)) == 1
    assert kept(tmp_path)[0].stat().st_size > 4 * (4 * 3 * 9 + 5 * 4)  # the weights of the two layers


def test_an_output_is_a_copy(file, store):
    part = opened(file, store)
    part.invoke(X)
    first = part.output("logits")
    part.invoke(-X)
    assert not np.array_equal(first, part.output("logits"))


def test_two_that_share_a_file_are_two(file, store):
    one, two = opened(file, store), opened(file, store)
    one.invoke(X)
    two.invoke(-X)
    first = one.output("logits")
    two.close()
    np.testing.assert_array_equal(one.output("logits"), first)
    one.invoke(X)
    np.testing.assert_array_equal(one.output("logits"), first)


def test_no_byte_of_the_weights_can_be_altered_unseen(file, store, tmp_path):
    part = opened(file, store)
    part.invoke(X)
    expected = part.output("logits")
    part.close()
    (weights,) = kept(tmp_path)
    data = weights.read_bytes()
    for place in (*range(0, len(data), max(1, len(data) // 40)), len(data) - 1):
        altered = bytearray(data)
        altered[place] ^= 0x81
        weights.write_bytes(altered)
        part = opened(file, store)
        part.invoke(X)
        np.testing.assert_array_equal(part.output("logits"), expected)
        part.close()
        assert kept(tmp_path) == [weights]
        assert weights.read_bytes() == data


def test_another_file_than_was_named_is_not_opened(file, store, tmp_path):
    assert LiteRT().open_packed(file, sha256(b"another"), store) is None
    assert LiteRT().open_packed(tmp_path / "gone.tflite", sha256(b""), store) is None
    (tmp_path / "empty.tflite").write_bytes(b"")
    assert LiteRT().open_packed(tmp_path / "empty.tflite", sha256(b""), store) is None


def test_what_is_no_part_is_left_to_who_says_so(store, tmp_path, capfd):
    for data in (b"no model at all", b"\0" * 200):
        (tmp_path / "bad.tflite").write_bytes(data)
        assert opened(tmp_path / "bad.tflite", store) is None
    assert kept(tmp_path) == []


def test_bad_calls_are_told(file, store):
    part = opened(file, store)
    for x in (X[:, :4], X.astype(np.float64), X[0]):
        with pytest.raises(BackendError, match=r"could not run the part: it takes float32 \(1, 8, 8, 3\), not"):
            part.invoke(x)
    with pytest.raises(BackendError, match=r"has no output 'class'; it has embedding, features, logits"):
        part.output("class")
    with pytest.raises(BackendError, match="does not describe itself"):
        part.tensors()
    part.close()
    part.close()
    for use in (lambda: part.invoke(X), lambda: part.output("logits")):
        with pytest.raises(UsageError, match="the part is closed"):
            use()


@pytest.mark.parametrize("why", ["no library", "another library", "no descriptors in memory"])
def test_where_it_cannot_be_done_the_interpreter_does_it(file, store, monkeypatch, tmp_path, why):
    litert_packed._library.cache_clear()
    if why == "no library":
        monkeypatch.setattr(litert_packed, "_LIBRARY", "libNothing.so")
    elif why == "another library":
        monkeypatch.setattr(litert_packed, "_LIBRARY", "libpywrap_litert_common.so")
    else:
        monkeypatch.delattr(os, "memfd_create")
    assert opened(file, store) is None
    assert kept(tmp_path) == []
    litert_packed._library.cache_clear()


def test_no_line_reaches_the_terminal(file, tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge_moe.backends.litert import LiteRT\n"
        "from edge_moe.packed import Packed\n"
        "for _ in range(2):\n"
        "    part = LiteRT().open_packed(Path(sys.argv[1]), sys.argv[2], Packed(Path(sys.argv[3])))\n"
        "    print(type(part).__name__)\n"
    )
    arguments = [str(file), sha256(file.read_bytes()), str(tmp_path / "weights")]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "PackedPart\nPackedPart\n", "")


# --- in a runtime ---


def test_experts_of_a_runtime_are_mapped_and_answer_the_same(tiny_bundle, tiny_images, tmp_path):
    images = sorted(tiny_images.glob("val/*/*.png"))[::6]
    answers = {}
    for cache in (False, tmp_path / "weights", str(tmp_path / "weights")):
        with Runtime(tiny_bundle, backend="litert", tau=0.0, max_experts=2, weight_cache=cache) as model:
            answers[str(cache)] = [model.predict(image).scores for image in images]
            kinds = {type(model._engine.part(f"expert_{k:02d}")) for k in model.loaded_experts}
            assert kinds == {PackedPart if cache else LiteRTPart}
            assert type(model._engine.part("base")) is LiteRTPart
    first, *others = answers.values()
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert kept(tmp_path)


def test_an_altered_expert_is_refused_as_ever(tiny_bundle, tiny_images, tmp_path):
    import shutil

    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    part = next(one for one in Bundle(bundle).manifest.sets if one.backend == "litert").parts["expert_00"]
    with Runtime(bundle, backend="litert", weight_cache=tmp_path / "weights") as model:
        model.preload([0])
    data = bytearray((bundle / part.file).read_bytes())
    data[-1] ^= 1
    (bundle / part.file).write_bytes(data)
    with (
        Runtime(bundle, backend="litert", weight_cache=tmp_path / "weights") as model,
        pytest.raises(Exception, match=r"expert_00\.tflite was altered"),
    ):
        model.preload([0])


def test_a_folder_that_may_not_be_written_to_is_no_error(tiny_bundle, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with Runtime(tiny_bundle, backend="litert", weight_cache=tmp_path / "file") as model:
        model.preload([0])
        assert type(model._engine.part("expert_00")) is LiteRTPart


@pytest.mark.parametrize("cache", [5, "", None])
def test_what_is_no_folder_is_told(tiny_bundle, cache):
    with pytest.raises(UsageError, match=r"weight_cache is .*; expected a folder, or True or False"):
        Runtime(tiny_bundle, weight_cache=cache)
