"""Sets that cannot run on this machine are passed over, and say why when they are asked for by name."""

from __future__ import annotations

import pytest

from edge_moe import BackendError, Runtime, UsageError, here, processor
from edge_moe.bundle import Bundle, RunsOn
from edge_moe.sets import patterns
from edge_moe.verify import verify

X86 = "processor\t: 0\nflags\t\t: fpu sse4_2 avx2\n\nprocessor\t: 1\nflags\t\t: fpu sse4_2 avx2 avx512_vnni\n"
ARM = "processor\t: 0\nBogoMIPS\t: 38.40\nFeatures\t: fp asimd asimddp\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """machine(text): this is what /proc/cpuinfo says; None: there is none."""

    def be(text):
        file = tmp_path / "cpuinfo"
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(processor, "_CPUINFO", file)

    be(X86)
    return be


def needs(index, **what):
    return lambda raw: raw["sets"][index]["runs_on"].update(what)


@pytest.mark.parametrize(
    ("text", "runs_on", "expected"),
    [
        (X86, RunsOn(), None),
        (X86, RunsOn(processor=("avx2", "sse4_2")), None),
        # Only one of the two cores has it.
        (
            X86,
            RunsOn(processor=("avx2", "avx512_vnni")),
            "it needs a processor with avx512_vnni, which this one has not",
        ),
        (ARM, RunsOn(processor=("asimddp",)), None),
        (ARM, RunsOn(processor=("i8mm", "sve")), "it needs a processor with i8mm, sve, which this one has not"),
        (X86, RunsOn(npu="hexagon"), "it needs the NPU hexagon, which is not here"),
        (None, RunsOn(), None),
        (None, RunsOn(processor=("neon",)), "with neon, and this system does not say what its has"),
    ],
)
def test_by_hand(machine, text, runs_on, expected):
    machine(text)
    found = here.unmet(runs_on)
    assert (found is None) == (expected is None)
    assert expected is None or found.endswith(expected)


def test_the_first_that_can_run_answers(make_bundle, fake_backend, caplog):
    path = make_bundle(recipes=("npu", "int8", "fp32"), edit=needs(0, npu="hexagon"))
    caplog.set_level("INFO", logger="edge_moe")
    with Runtime(path, backend=fake_backend) as model:
        assert model.artifacts.recipe.name == "int8"
        assert model.operating == Bundle(path).operating(model.artifacts)
    line = "fake/npu cannot run here: it needs the NPU hexagon, which is not here; fake/int8 is taken"
    assert caplog.messages == [line]
    Runtime(path, backend=fake_backend, recipe="fp32").close()
    assert caplog.messages == [line]


def test_of_several_the_first_that_was_named_and_can_run(make_bundle):
    manifest = Bundle(make_bundle(recipes=("npu", "int8", "fp32"), edit=needs(0, npu="hexagon"))).manifest
    for sets, expected in (
        (["fake/fp32", "fake/int8"], "fp32"),
        (["fake/npu", "fake/fp32", "fake/int8"], "fp32"),
        (["fake"], "int8"),
    ):
        assert here.pick(manifest, patterns(sets)).recipe.name == expected
    with pytest.raises(UsageError, match="no artifacts for onnx/int8"):
        here.pick(manifest, patterns(["fake/int8", "onnx/int8"]))


def test_all_that_can_run_or_those_that_are_named(make_bundle, caplog):
    manifest = Bundle(make_bundle(recipes=("npu", "int8", "fp32"), edit=needs(0, npu="hexagon"))).manifest
    caplog.set_level("INFO", logger="edge_moe")
    assert [one.recipe.name for one in here.able(manifest)] == ["int8", "fp32"]
    line = "fake/npu cannot run here: it needs the NPU hexagon, which is not here"
    assert caplog.messages == [f"{line}; it is left out"]
    assert [one.recipe.name for one in here.able(manifest, patterns(["fake/fp32"]))] == ["fp32"]
    with pytest.raises(BackendError) as caught:
        here.able(manifest, patterns(["fake/npu", "fake/int8"]))
    assert str(caught.value) == f"{line}; choose fake/fp32"


def test_nothing_to_measure(make_bundle):
    manifest = Bundle(make_bundle(edit=needs(0, npu="hexagon"))).manifest
    with pytest.raises(BackendError, match=r"fake/int8 cannot run here: .*; convert with a recipe"):
        here.able(manifest)


def test_one_that_cannot_run_is_not_opened_by_name(make_bundle, fake_backend):
    path = make_bundle(recipes=("npu", "int8"), edit=needs(0, npu="hexagon"))
    with pytest.raises(BackendError) as caught:
        Runtime(path, backend=fake_backend, recipe="npu")
    assert str(caught.value) == (
        "fake/npu cannot run here: it needs the NPU hexagon, which is not here; choose fake/int8"
    )
    assert fake_backend.opened == []
    with pytest.raises(UsageError, match="no artifacts for fake/int4"):
        Runtime(path, backend=fake_backend, recipe="int4")


def test_none_can_run(make_bundle, fake_backend):
    path = make_bundle(edit=needs(0, processor=["avx10"]))
    with pytest.raises(
        BackendError, match="needs a processor with avx10, which this one has not; convert with a recip"
    ):
        Runtime(path, backend=fake_backend)


def test_verify_skips_it_with_a_line(make_bundle, fake_backend):
    path = make_bundle(recipes=("npu", "int8"), edit=needs(0, npu="hexagon"))
    checks = verify(path, backend=fake_backend)
    *hashed, skipped = [one for one in checks if one.set == "fake/npu"]
    assert [one.passed for one in hashed] == [True] * 6  # three experts, base, gate and the golden samples
    assert (skipped.passed, skipped.skipped, skipped.what) == (True, True, "set")
    assert skipped.detail == "cannot run here: it needs the NPU hexagon, which is not here"
    assert sum(one.set == "fake/int8" for one in checks) > 10
    assert all(one.passed for one in checks)


def test_verify_fails_where_nothing_was_run_that_was_asked_for(make_bundle, fake_backend):
    path = make_bundle(recipes=("npu", "int8"), edit=needs(0, npu="hexagon"))
    (failed,) = [one for one in verify(path, backend=fake_backend, recipe="npu") if not one.passed]
    assert (failed.set, failed.skipped) == ("fake/npu", False)
    assert "needs the NPU hexagon" in failed.detail
    alone = make_bundle("alone", recipes=("npu",), edit=needs(0, npu="hexagon"))
    assert [one.what for one in verify(alone, backend=fake_backend) if not one.passed] == ["set"]


def test_the_files_of_a_set_that_cannot_run_are_hashed(make_bundle, fake_backend):
    path = make_bundle(recipes=("npu", "int8"), edit=needs(0, npu="hexagon"))
    file = next((path / "fake/npu").glob("base*"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert [one.what for one in verify(path, backend=fake_backend) if not one.passed] == ["fake/npu/base.npz"]
