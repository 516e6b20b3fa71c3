"""Which Arm cores there are, whether they can be used here, and what is refused before any work."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe import BackendError, Bundle, UsageError
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.runner import native
from edge_moe.benchmarks.runner.native import NATIVE
from edge_moe.benchmarks.set_up import SetUp
from edge_moe.benchmarks.targets.arm import set_up
from edge_moe.benchmarks.targets.arm.cores import CORES
from edge_moe.benchmarks.targets.arm.set_up import ArmSetUp
from edge_moe.manifest import RunsOn
from edge_moe.progress import Silent
from tests.fixtures import JOB


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """A Linux that has nothing set up."""
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(native.sys, "platform", "linux")
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")


@pytest.fixture
def ready(monkeypatch):
    """The same with all that is needed, as far as anybody looks."""
    monkeypatch.setattr(SetUp, "complete", True)


def sets(**changes):
    one = Bundle(JOB / "bundle").manifest.sets[0]
    return [msgspec.structs.replace(one, **changes)]


def test_cores_are_found_by_their_names():
    assert [targets.get(f"arm:{name}").name for name in CORES] == ["arm:cortex-a76", "arm:cortex-a53"]
    with pytest.raises(UsageError, match="unknown device 'arm:cortex-a9'; expected arm:cortex-a76 or arm:cortex-a53"):
        targets.get("arm:cortex-a9")


def test_what_is_not_set_up_says_so():
    found = targets.get("arm").available()
    assert [one.what for one in found] == [*(f"arm:{name}" for name in CORES), *(f"arm, {name}" for name in NATIVE)]
    assert {one.usable for one in found} == {False}
    assert {one.detail for one in found} == {"it is not set up: run 'edge-moe devices setup arm'"}
    with pytest.raises(BackendError, match=r"arm:cortex-a76 cannot be used: it is not set up: run 'edge-moe devices"):
        targets.get("arm:cortex-a76").check(sets(), 1)


def test_what_is_set_up_in_part_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(SetUp, "is_there", lambda self, item: item.name != "runner")
    (one, *_) = targets.get("arm:cortex-a53").available()
    assert (one.usable, one.detail) == (False, "runner must be set up: run 'edge-moe devices setup arm'")


def test_elsewhere_it_says_where_it_can_be_used(monkeypatch):
    monkeypatch.setattr(native.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(native.platform, "system", lambda: "Darwin")
    words = "the emulator is for Linux on x86-64, and this is Darwin arm64; measure on such a machine"
    assert {one.detail.startswith(words) for one in targets.get("arm").available()} == {True}
    with pytest.raises(UsageError, match=f"arm cannot be set up: {words}"):
        targets.get("arm").set_up()


@pytest.mark.usefixtures("ready")
def test_what_can_be_used():
    found = targets.get("arm:cortex-a53").available()
    assert [one.what for one in found] == ["arm:cortex-a53", *(f"arm, {name}" for name in NATIVE)]
    assert all(one.usable for one in found)
    targets.get("arm:cortex-a53").check(sets(), 1)


@pytest.mark.usefixtures("ready")
def test_what_is_refused():
    a76, a53 = targets.get("arm:cortex-a76"), targets.get("arm:cortex-a53")
    with pytest.raises(UsageError, match="arm has to be told which core; expected arm:cortex-a76 or arm:cortex-a53"):
        targets.get("arm").check(sets(), 1)
    with pytest.raises(UsageError, match="threads is 2; arm:cortex-a76 emulates one core"):
        a76.check(sets(), 2)
    with pytest.raises(BackendError, match=r"fake/int8 cannot run on arm:cortex-a76: .* artifacts of litert, .*--set"):
        a76.check(sets(backend="fake"), 1)
    dot = sets(runs_on=RunsOn(processor=("asimddp",)))
    a76.check(dot, 1)
    with pytest.raises(BackendError, match="it needs a processor with asimddp, which cortex-a53 has not"):
        a53.check(dot, 1)
    with pytest.raises(BackendError, match="it needs the NPU ethos-u55-128"):
        a76.check(sets(runs_on=RunsOn(npu="ethos-u55-128")), 1)


def test_the_set_up_is_shared_and_its_cores_look_like_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(set_up.pins.QEMU[0].__class__, "fetch", lambda self: b"")
    for module in (set_up, native):
        monkeypatch.setattr(module, "unpack", lambda deb, files, folder: folder.mkdir(parents=True, exist_ok=True))
    monkeypatch.setattr(native.Wheel, "fetch", lambda self: b"")
    monkeypatch.setattr(native, "unzip", lambda wheel, members, folder: (folder / "zig").write_text(""))
    commands = []

    def run(command, **options):
        commands.append((command, options["env"]))
        set_up.Path(command[command.index("-o") + 1]).write_text("")
        return native.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(native.subprocess, "run", run)
    needed = targets.get("arm:cortex-a53").set_up()
    needed.install(Silent())
    assert needed.complete
    root = tmp_path / "cache/arm/root"
    for name, part in (("cortex-a76", "0xd0b"), ("cortex-a53", "0xd03")):
        cpuinfo = (root / name / "proc/cpuinfo").read_text()
        assert f"CPU part\t: {part}\n" in cpuinfo
        assert ("asimddp" in cpuinfo) == (name == "cortex-a76")
        assert (root / name / "sys/devices/system/cpu/present").read_text() == "0\n"
        assert (root / name / "lib").resolve() == root / "lib"
    made = [set_up.Path(command[command.index("-o") + 1]).name for command, _ in commands]
    assert made == ["counts.so", "still.so", *(made for name in NATIVE for made in (f"{name}.o", f"runner-{name}"))]
    assert not list((tmp_path / "cache/arm").glob(".*.half"))  # the compiler is not kept


def test_sources_that_change_are_compiled_again(monkeypatch, tmp_path):
    before = {one.name: one.made_from for one in ArmSetUp(tmp_path).items}
    monkeypatch.setattr(native, "sources", lambda *folders: {"main.c": "another"})
    after = {one.name: one.made_from for one in ArmSetUp(tmp_path).items}
    assert {name for name in before if before[name] != after[name]} == {"runner"}


def test_a_compiler_that_fails(monkeypatch, tmp_path):
    def run(command, **_):
        return native.subprocess.CompletedProcess(command, 1, "", "main.c:1: error: no such thing\nmore\n")

    monkeypatch.setattr(native.subprocess, "run", run)
    with pytest.raises(
        BackendError, match=r"counts.so cannot be compiled: main.c:1: error: no such thing; report this"
    ):
        native.Compiler(tmp_path).compile("cc", "x86_64-linux-gnu", tmp_path / "counts.so", [])
