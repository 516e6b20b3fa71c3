"""Which chips there are, whether they can be used here, and what is refused before any work."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe import BackendError, Bundle, MissingExtraError, UsageError
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.ranking import TargetRanker
from edge_moe.benchmarks.runner import native
from edge_moe.benchmarks.set_up import SetUp
from edge_moe.benchmarks.targets import qnn
from edge_moe.benchmarks.targets.qnn import set_up
from edge_moe.benchmarks.targets.qnn.socs import SOCS
from edge_moe.manifest import RunsOn
from edge_moe.progress import Silent
from tests.fixtures import JOB


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """A Linux that has nothing set up."""
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(native.sys, "platform", "linux")
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(qnn.platform, "libc_ver", lambda: ("glibc", "2.36"))


@pytest.fixture
def ready(monkeypatch):
    """The same with all that is needed, as far as anybody looks."""
    monkeypatch.setattr(SetUp, "complete", True)


def sets(recipe="int8-stock", **changes):
    one = Bundle(JOB / "bundle").manifest.sets[0]
    named = msgspec.structs.replace(one.recipe, name=recipe)
    return [msgspec.structs.replace(one, **{"backend": "onnx", "recipe": named, **changes})]


def test_chips_are_found_by_their_names():
    assert [targets.get(f"qnn:{name}").name for name in SOCS] == [f"qnn:{name}" for name in SOCS]
    with pytest.raises(UsageError, match=r"unknown device 'qnn:SM1'; expected qnn:QCS9100, .*, qnn:SM8850$"):
        targets.get("qnn:SM1")
    assert len({one.model for one in SOCS.values()}) == len(SOCS)


def test_what_is_not_set_up_says_so():
    found = targets.get("qnn").available()
    assert [one.what for one in found] == [*(f"qnn:{name}" for name in SOCS), "qnn, onnx"]
    assert {one.usable for one in found} == {False}
    assert {one.detail for one in found} == {"its tools are not set up: run 'edge-moe devices setup qnn'"}
    with pytest.raises(
        BackendError, match=r"qnn:SM8650 cannot be used: its tools are not set up: run 'edge-moe devices"
    ):
        targets.get("qnn:SM8650").check(sets(), 1)


@pytest.mark.usefixtures("ready")
def test_what_can_be_had_for_a_chip():
    board, phone = (targets.get(f"qnn:{name}").available()[0].detail for name in ("QCS9100", "SM8650"))
    assert board == "Dragonwing IQ9, boards, HTP v73: QNN's estimate in ms, context binaries"
    assert phone == ("phones, Snapdragon 8 Gen 3, HTP v75: context binaries; latency: n/a, needs the device")
    targets.get("qnn:SM8650").check(sets(), 1)


def test_elsewhere_it_says_where_it_can_be_used(monkeypatch):
    monkeypatch.setattr(qnn.platform, "libc_ver", lambda: ("glibc", "2.31"))
    words = "Qualcomm's tools need glibc 2.35 or newer, and this system has 2.31; use a newer Linux"
    assert {one.detail for one in targets.get("qnn").available()} == {words}
    monkeypatch.setattr(native.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(native.platform, "system", lambda: "Darwin")
    with pytest.raises(
        UsageError, match="qnn cannot be set up: Qualcomm's tools are for Linux on x86-64, and this is Da"
    ):
        targets.get("qnn").set_up()


@pytest.mark.usefixtures("ready")
def test_what_is_refused(monkeypatch):
    one = targets.get("qnn:QCS9100")
    with pytest.raises(UsageError, match=r"qnn has to be told which chip; expected qnn:QCS9100, "):
        targets.get("qnn").check(sets(), 1)
    with pytest.raises(UsageError, match="threads is 2; qnn:QCS9100 is compiled for, not run: expected 1"):
        one.check(sets(), 2)
    with pytest.raises(
        BackendError, match=r"litert/int8-stock cannot run on qnn:QCS9100: .* artifacts of onnx; .*--set"
    ):
        one.check(sets(backend="litert"), 1)
    with pytest.raises(BackendError, match="it needs the NPU ethos-u55-128"):
        one.check(sets(runs_on=RunsOn(npu="ethos-u55-128")), 1)
    with pytest.raises(BackendError, match=r"onnx/fp32 cannot run on qnn:QCS9100: of layers in float .*--set"):
        one.check(sets(recipe="fp32"), 1)
    monkeypatch.setattr(qnn.importlib.util, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(MissingExtraError, match=r"the device qnn:QCS9100 needs onnx, .* 'edge-moe\[convert\]'"):
        one.check(sets(), 1)


def test_one_wheel_is_fetched_and_only_what_is_used_is_taken_out_of_it(monkeypatch, tmp_path):
    fetched, taken = [], {}
    monkeypatch.setattr(set_up.WHEEL.__class__, "fetch", lambda self: fetched.append(self) or b"wheel")

    def unzip(wheel, members, folder):
        assert wheel == b"wheel"
        for name in members:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        taken[folder.name.split(".")[1]] = set(members)

    monkeypatch.setattr(set_up, "unzip", unzip)
    needed = targets.get("qnn:SM8650").set_up()
    needed.bring_licence(Silent())
    assert (set(taken), needed.complete) == ({"licence"}, False)
    assert (needed.folder / needed.licence.item / needed.licence.file).is_file()
    needed.install(Silent())
    assert needed.complete
    assert len(fetched) == 1
    assert {"onnxruntime_qnn/libQnnHtp.so", "onnxruntime_qnn.libs"} < taken["libraries"]
    assert needed.bytes == set_up.WHEEL.size_bytes


@pytest.mark.usefixtures("ready")
def test_who_ranks():
    """A chip with an estimate; for qnn alone the first of them; a phone says which, and what can be done without."""
    assert TargetRanker(targets.get("qnn:SA8797")).where == "on qnn:SA8797"
    assert TargetRanker(targets.get("qnn")).where == "on qnn:QCS9100"
    phone = targets.get("qnn:SM8650")
    words = r"no estimate for this chip \(n/a, needs the device\); name .*--for qnn:QCS9100, which takes the same"
    with pytest.raises(UsageError, match=f"qnn:SM8650 cannot rank recipes: QNN has {words} sets, or .*--no-measure"):
        TargetRanker(phone)
    with pytest.raises(UsageError, match="qnn:SM8650 cannot rank recipes: QNN has no estimate"):
        phone.price({}, {}, {}, 1, Silent())


def test_what_is_not_set_up_cannot_rank():
    with pytest.raises(UsageError, match=r"qnn:QCS9100 cannot rank .* 'edge-moe devices setup qnn'; .*--no-measure"):
        TargetRanker(targets.get("qnn"))


def test_how_far_it_may_be_off():
    """More where 8 bits lie between layers than where 16 do, and most in the longest part."""
    one, (eight,) = targets.get("qnn:QCS9100"), sets()
    assert [one.tolerance(eight, part) for part in ("base", "gate", "expert_01")] == [0.3, 0.1, 0.2]
    recipe = msgspec.structs.replace(eight.recipe, settings=eight.recipe.settings | {"activation_bits": 16})
    assert one.tolerance(msgspec.structs.replace(eight, recipe=recipe), "base") == 0.03
    assert one.own_backend == "onnx"
