"""Parts of LiteRT whose weights are mapped: the same answers, and never a wrong one."""

from __future__ import annotations

import os
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


def test_what_is_no_sound_artifact_does_not_reach_the_c_api_which_would_crash(file, store, tmp_path):
    whole = file.read_bytes()
    for data in (b"", b"no model at all", b"\0" * 200, whole[:60], whole[:1000], whole[:-200]):
        (tmp_path / "bad.tflite").write_bytes(data)
        with pytest.raises(BackendError, match="LiteRT refuses the artifact"):
            opened(tmp_path / "bad.tflite", store)
    assert kept(tmp_path) == []
    assert isinstance(opened(file, store), PackedPart)


def test_a_file_that_somebody_else_could_have_written_is_not_used(file, store, tmp_path):
    opened(file, store).close()
    (weights,) = kept(tmp_path)
    for path in (weights, weights.parent):
        path.chmod(0o777)
        assert opened(file, store) is None or path == weights
        path.chmod(0o700)


def test_an_older_library_that_lacks_a_call_is_left_alone(file, store, monkeypatch):
    litert_packed._library.cache_clear()
    monkeypatch.setattr(litert_packed, "_CALLED", (*litert_packed._CALLED, "LiteRtOfTomorrow"))
    assert opened(file, store) is None
    litert_packed._library.cache_clear()


def test_without_another_thread_it_is_done_in_this_one(file, store, monkeypatch):
    def none(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(litert_packed.threading.Thread, "start", none)
    assert isinstance(opened(file, store), PackedPart)


def test_a_fork_opens_parts_from_their_bytes(file, store):
    """Another thread may have been in the library, whose locks nobody would give back."""
    opened(file, store).close()
    child = os.fork()
    if not child:
        os._exit(0 if opened(file, store) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert isinstance(opened(file, store), PackedPart)


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


def test_preloading_within_a_budget_lays_out_and_then_loads(tiny_bundle, tmp_path):
    """To lay out an expert's weights the others have to go; afterwards all are there."""
    parts = next(one for one in Bundle(tiny_bundle).manifest.sets if one.backend == "litert").parts
    room = 1 + round(2.25 * 2 * max(part.bytes for part in parts.values()))
    options = {"expert_budget_bytes": room, "weight_cache": tmp_path / "weights"}
    with Runtime(tiny_bundle, backend="litert", **options) as model:
        assert model.preload([0, 1]) == (0, 1)
