"""The target by a stand-in for Vela with a price list: what it tells, keeps, and refuses."""

from __future__ import annotations

import msgspec
import pytest

from edge_moe import BackendError, UsageError
from edge_moe.backends.tosa import unpack
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.sound import Wanted, opening_problem, round_problem
from edge_moe.benchmarks.targets import ethos_u
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Opening, Round
from edge_moe.bundle import RunsOn
from edge_moe.progress import Silent
from edge_moe.sets import SetKey
from tests import ethos_u_tools
from tests.fixtures import JOB

KEY = SetKey("ethos-u", "int8")


@pytest.fixture
def target(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path))
    ethos_u_tools.write(tmp_path)
    monkeypatch.setattr(ethos_u.EthosU, "_problem", "")
    return targets.get


@pytest.fixture
def job(monkeypatch):
    """The recorded job, as if its set were an NPU's; part -> what its graph says."""
    found, says = read_job(JOB), {}
    (one, *_) = found.sets
    recipe = msgspec.structs.replace(one.recipe, name="int8")
    as_npu = msgspec.structs.replace(one, backend="ethos-u", recipe=recipe, runs_on=RunsOn(npu="ethos-u"))
    names = {artifact.sha256: part for part, artifact in as_npu.parts.items()}
    read = lambda artifact: ethos_u_tools.artifact(says.get(names[artifact.sha256], names[artifact.sha256]))  # noqa: E731
    monkeypatch.setattr(type(found.bundle), "read", lambda self, artifact: read(artifact))
    plan = msgspec.structs.replace(found.plan, sets=(msgspec.structs.replace(found.plan.sets[0], set=str(KEY)),))
    job = type(found)(found.folder, plan, found.bundle)
    job.__dict__["sets"] = (as_npu,)
    return job, says


def answered(target, job, name):
    with target(name).open(job, Silent()) as session:
        return session.opening, list(session.rounds(0, Silent(), "timing"))


def test_what_it_answers_is_sound_and_names_system_and_modes(target, job):
    opening, lines = answered(target, job[0], "ethos-u:u55-256")
    assert opening_problem(opening, SCHEMA_VERSION) is None
    parts = frozenset(job[0].bundle.manifest.parts)
    wanted = [Wanted(one.set, len(one.settings), parts) for one in job[0].plan.sets]
    assert {round_problem(opening, wanted, line, job[0].plan.timed) for line in lines} == {None}
    for one, kind in ((opening, Opening), (lines[0], Round)):
        assert msgspec.json.decode(msgspec.json.encode(one), type=kind) == one
    assert set(opening.provenance.values()) == {"estimated"}
    facts = opening.machine.facts
    assert facts["system configuration"] == "Ethos_U55_High_End_Embedded"
    modes = [facts[f"memory mode, weights in {where}"] for where in ("flash", "SRAM")]
    assert modes == ["Shared_Sram", "Sram_Only"]
    assert facts["clock MHz"] == 500


def test_a_part_costs_what_vela_says_in_both_modes(target, job):
    opening, (line, *_) = answered(target, job[0], "ethos-u:u55-256")
    size = len(unpack(ethos_u_tools.artifact("base")).graph)  # the stand-in's price list: 30 and 10 cycles a byte
    assert [unit.name for unit in opening.units] == ["cycles", "ms", "cycles_weights_in_sram", "ms_weights_in_sram"]
    costs = {name: raw[0] for name, raw in line.sets[0].parts["base"].items()}
    assert costs["cycles"] == 30 * size
    assert costs["ms"] == pytest.approx(30 * size / 500e3)
    assert costs["cycles_weights_in_sram"] == 10 * size
    details = {one.way: one for one in opening.details[str(KEY)]["base"]}
    assert details["Shared_Sram"].facts["flash bytes"] == 3 * 1024
    assert details["Sram_Only"].facts["weights in SRAM bytes"] == 3 * 1024
    assert [layer.name for layer in details["Shared_Sram"].layers] == ["one", "two"]
    assert opening.compiled[str(KEY)]["base"].bytes == len(b"compiled ") + size


def test_weights_in_sram_first_where_that_is_asked_for(target, job):
    opening, (line, *_) = answered(target, job[0], "ethos-u:u55-256,weights=sram")
    costs = line.sets[0].parts["gate"]
    assert costs["cycles"][0] * 3 == costs["cycles_weights_in_flash"][0]
    assert opening.units[0].words == "cycles (Sram_Only, weights in SRAM)"


def test_what_was_compiled_to_look_at_it_is_not_compiled_again(target, job, monkeypatch):
    from edge_moe.benchmarks.targets.ethos_u import vela

    one, asked = target("ethos-u:u85-256"), []
    monkeypatch.setattr(vela, "_arguments", lambda *a, f=vela._arguments: asked.append(a) or f(*a))
    one.examine(job[0].bundle, job[0].sets)
    before = len(asked)
    one.open(job[0], Silent())
    assert before == len(asked) == 2 * len(job[0].sets[0].parts)


def test_a_chip_with_too_little_sram(target, job):
    with pytest.raises(
        BackendError, match=r"base of ethos-u/int8 needs 2 KiB of SRAM, most of it in two, and .* has 1;"
    ):
        target("ethos-u:u55-256,sram=1").examine(job[0].bundle, job[0].sets)
    opening, _ = answered(target, job[0], "ethos-u:u55-256,sram=3")  # for tensors, not for the weights of all parts
    assert [unit.name for unit in opening.units] == ["cycles", "ms"]
    assert opening.remarks == ("Sram_Only (weights in SRAM) is left out: 3 KiB of SRAM do not hold all parts",)
    opening, _ = answered(target, job[0], "ethos-u:u55-256,sram=100")
    assert (len(opening.units), opening.remarks) == (4, ())


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("refuse", "ethos-u-vela 5.1.0 cannot compile gate of ethos-u/int8: Error: no such operator"),
        ("cpu", "ethos-u-vela 5.1.0 leaves two of gate of ethos-u/int8 to the CPU"),
    ],
)
def test_a_part_that_the_npu_does_not_take(target, job, says, words):
    job[1]["gate"] = says
    with pytest.raises(BackendError, match=words):
        target("ethos-u:u65-512").examine(job[0].bundle, job[0].sets)


def test_recipes_are_ranked_by_cycles(target, tmp_path):
    files = {}
    for recipe, says in (("int8", "long " * 9), ("int8-stock", "short")):
        files[SetKey("ethos-u", recipe)] = {"base": tmp_path / recipe}
        (tmp_path / recipe).write_bytes(ethos_u_tools.artifact(says))
    files[SetKey("ethos-u", "fp32")] = files[KEY]  # no NPU runs it
    prices = target("ethos-u").price(files, {}, {}, 21, Silent())
    assert prices.unit.name == "cycles"
    assert set(prices.samples) == {KEY, SetKey("ethos-u", "int8-stock")}
    short, long = (prices.samples[SetKey("ethos-u", name)]["base"][0][0] for name in ("int8-stock", "int8"))
    assert short < long


def test_what_is_refused_before_any_work(target, job):
    sets = job[0].sets
    with pytest.raises(UsageError, match="ethos-u has to be told which NPU; expected one of ethos-u:u55-256"):
        target("ethos-u").check(sets, 1)
    with pytest.raises(UsageError, match="threads is 2"):
        target("ethos-u:u55-256").check(sets, 2)
    for backend, recipe, why in (("litert", "int8", "it is of litert"), ("ethos-u", "fp32", "it is of float numbers")):
        other = msgspec.structs.replace(
            sets[0], backend=backend, recipe=msgspec.structs.replace(sets[0].recipe, name=recipe)
        )
        with pytest.raises(BackendError, match=why):
            target("ethos-u:u55-256").check([other], 1)


def test_without_the_tools(tmp_path, monkeypatch, job):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path))
    one = targets.get("ethos-u:u55-256")
    words = "its tools are not set up: run 'edge-moe devices setup ethos-u'"
    with pytest.raises(BackendError, match=words):
        one.check(job[0].sets, 1)
    assert not any(found.usable for found in one.available())
    assert one.row == "ethos-u"


def test_an_npu_s_sets_are_not_timed_on_the_host(job):
    with pytest.raises(BackendError, match="ethos-u/int8 is for the NPU ethos-u, which is only emulated here"):
        targets.get("host").check(job[0].sets, 1)
