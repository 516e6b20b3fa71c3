"""Parts in processes of their own: what goes wrong there is told here."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from edge_moe.backends import table
from edge_moe.converters import recipes, toolchain, workers
from edge_moe.converters.workers import FailedBackends, Job, carry_out, rank_part
from edge_moe.errors import BackendError, CheckpointError, ConversionError
from edge_moe.ledger import SCAFFOLD
from edge_moe.progress import Silent
from edge_moe.training.checkpoint import load_checkpoint
from edge_moe.verify import relative_error
from tests.converters.conftest import run, run_torch
from tests.fakes import PoolHere

E = 80  # of the embedding of `tests.own`


def job(checkpoint, folder, part="gate", *, backend="onnx", names=("fp32",)):
    shape = {"base": (32, 32, 3), "gate": (E,)}.get(part, (8, 8, E))
    samples = np.random.default_rng(0).random((4, 1, *shape)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{part}.npy", samples)
    return Job(
        backend=backend,
        checkpoint=checkpoint,
        part=part,
        samples=folder / f"{part}.npy",
        graph=folder / f"{backend}-{part.partition('_')[0]}.graph",
        targets=tuple((recipes.get(backend, name), folder / f"{part}-{name}.{backend}") for name in names),
    )


class Steps:
    """A Progress that remembers."""

    def __init__(self):
        self.totals, self.notes = {}, []

    def start(self, name, total, done=0):
        self.totals[name] = total

    def advance(self, name, note=""):
        self.notes.append((name, note))


@pytest.mark.parametrize("part", ["base", "gate", "expert_00", "expert_01"])
def test_the_part_that_is_loaded(own_checkpoint, tmp_path, part):
    mixture = load_checkpoint(own_checkpoint).mixture
    expected = {"base": mixture.base, "gate": mixture.gate}.get(part) or mixture.experts[int(part[-1])]
    found = workers.load(job(own_checkpoint, tmp_path, part)).state_dict()
    assert found.keys() == expected.state_dict().keys()
    assert all(found[key].equal(value) for key, value in expected.state_dict().items())


def test_jobs_have_names(own_checkpoint, tmp_path):
    one = job(own_checkpoint, tmp_path, "expert_01", backend="litert", names=("fp32", "int8"))
    assert (one.kind, one.label, one.is_unmade) == ("expert", "litert/expert_01", True)
    one.targets[0][1].write_bytes(b"x")
    assert one.is_unmade
    one.targets[1][1].write_bytes(b"x")
    assert not one.is_unmade


def test_processes_convert_and_rank(ruined_checkpoint, tmp_path):
    """Really: one graph is traced for two experts of a network of one's own, which each process has to find."""
    both = [job(ruined_checkpoint, tmp_path, f"expert_0{k}", names=("fp32", "int8-all")) for k in (0, 1)]
    steps = Steps()
    made = carry_out(both, 1, tmp_path, steps)
    assert list(made) == ["onnx/expert graph", "onnx/expert_00", "onnx/expert_01"]
    assert all(0 < one.seconds < 60 for one in made.values())
    assert steps.totals == {"converting": 3}
    assert steps.notes == [("converting", name) for name in made]
    experts = load_checkpoint(ruined_checkpoint).mixture.experts
    for one, expert in zip(both, experts, strict=True):
        x = np.load(one.samples)
        (_, fp32), (_, int8) = one.targets
        expected = run_torch(expert, "expert", x)["logits"]
        assert relative_error(run("onnx", fp32.read_bytes(), "expert", x)["logits"], expected) < 1e-4
        assert int8.stat().st_size < 0.6 * fp32.stat().st_size
        assert made[one.label].structures == {file: None for _, file in one.targets}
    assert not (tmp_path / "convert.log").exists()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert list(carry_out([], 1, tmp_path, Silent())) == []

    one = job(ruined_checkpoint, tmp_path, "expert_01", names=("int8-all",))
    (ranked,) = carry_out([one], 1, tmp_path, steps, rank_part, "ranking layers").values()
    assert ranked.layers[0].layer == "last.0"
    assert not ranked.kernels.is_suspect
    assert steps.notes[-1] == ("ranking layers", "onnx/expert_01")
    assert {path: path.stat().st_mtime_ns for path in written if path.suffix != ".npy"} == {
        path: when for path, when in written.items() if path.suffix != ".npy"
    }


def test_what_is_there_is_only_looked_at(own_checkpoint, tmp_path, monkeypatch):
    one = job(own_checkpoint, tmp_path, names=("fp32", "int8"))
    workers._trace(one)
    one.targets[0][1].write_bytes(b"there already")
    looked = []
    monkeypatch.setattr(toolchain.get("onnx").__class__, "structure", lambda self, artifact: looked.append(artifact))
    made = workers._build(one)
    assert made.seconds > 0
    assert one.targets[0][1].read_bytes() == b"there already"
    assert looked == [b"there already", one.targets[1][1].read_bytes()]
    assert made.structures == {file: None for _, file in one.targets}
    assert workers._build(one) == (None, made.structures, {})
    assert looked == 2 * looked[:2]


def test_layers_are_ranked_where_no_graph_is_left(own_checkpoint, tmp_path):
    """All artifacts were taken over from an earlier bundle."""
    one = job(own_checkpoint, tmp_path, "expert_00", names=("int8-all",))
    assert not one.graph.exists()
    found = workers.rank_part(one)
    assert {layer.layer for layer in found.layers} == {"even.0", "last.0", "classifier"}
    assert found.kernels is None  # nor is there an artifact


@pytest.mark.parametrize("kind", [ConversionError, BackendError])
@pytest.mark.parametrize("step", [workers._trace, workers._build, workers.rank_part])
def test_an_error_names_backend_and_part(own_checkpoint, tmp_path, monkeypatch, step, kind):
    def refuse(*_):
        raise kind("cannot convert this part")

    one = job(own_checkpoint, tmp_path)
    one.graph.write_bytes(b"a graph")
    for method in ("trace", "build", "compare"):
        monkeypatch.setattr(toolchain.get("onnx").__class__, method, refuse)
    with pytest.raises(ConversionError, match=r"^onnx/gate: cannot convert this part$"):
        step(one)


def test_an_artifact_that_makes_no_sense_names_backend_part_and_recipe(own_checkpoint, tmp_path, monkeypatch):
    def refuse(*_):
        raise BackendError("LiteRT refuses the artifact: it is a mess; convert it again")

    one = job(own_checkpoint, tmp_path, names=("int8-all",))
    workers._trace(one)
    monkeypatch.setattr(toolchain.get("onnx").__class__, "structure", refuse)
    (why,) = workers._build(one).unmade.items()
    assert why[0] == "int8-all"
    assert re.fullmatch(
        r"onnx/gate: by recipe 'int8-all', LiteRT refuses the artifact: .*; try another --recipe", why[1]
    )
    with pytest.raises(ConversionError, match=r"^onnx/gate: by recipe 'fp32', LiteRT refuses the artifact: "):
        workers._build(job(own_checkpoint, tmp_path))  # the reference: without it there is nothing


class Picky:
    """A toolchain that cannot make one recipe, and whose artifacts are words."""

    def __init__(self, refused):
        self.refused, self.asked = refused, []

    def trace(self, part, kind, example):
        return b"a graph"

    def build(self, traced, part, kind, samples, recipes, origins=()):
        for recipe in recipes:
            self.asked.append((kind, recipe.name))
            if recipe.name == self.refused:
                raise ConversionError(f"cannot apply {recipe.name}")
            yield recipe.name.encode()

    def structure(self, artifact):
        return None


def test_a_recipe_that_cannot_be_made_does_not_cost_the_others(own_checkpoint, tmp_path, monkeypatch):
    """Nor is any other part tried by it."""
    tools = Picky("int8")
    monkeypatch.setattr(workers, "Pool", PoolHere)
    monkeypatch.setattr(toolchain, "get", lambda backend: tools)
    names = ("fp32", "int8", "int8-all")
    jobs = [job(own_checkpoint, tmp_path, part, names=names) for part in ("gate", "expert_00", "expert_01")]
    made = carry_out(jobs, 1, tmp_path, Silent())
    unmade = {name: one.unmade for name, one in made.items() if one.unmade}
    assert unmade == {"onnx/expert_00": {"int8": "onnx/expert_00: cannot apply int8"}}  # the first that is tried
    assert tools.asked.count(("expert", "int8")) == 1
    assert tools.asked.count(("gate", "int8")) == 0
    for one in jobs:
        assert [file.is_file() for _, file in one.targets] == [True, False, True]
    tools.refused = "fp32"
    with pytest.raises(FailedBackends, match=r"^onnx/gate: cannot apply fp32$"):
        carry_out([job(own_checkpoint, tmp_path / "anew", names=names)], 1, tmp_path, Silent())


def test_a_backend_with_an_error_does_not_cost_the_others(own_checkpoint, tmp_path, monkeypatch):
    def refuse(*_):
        raise ConversionError("cannot convert this part")

    monkeypatch.setattr(workers, "Pool", PoolHere)
    monkeypatch.setattr(toolchain.get("onnx").__class__, "build", refuse)
    both = [
        job(own_checkpoint, tmp_path, part, backend=b) for b in ("onnx", "litert") for part in ("gate", "expert_00")
    ]
    with pytest.raises(FailedBackends, match=r"^onnx/(gate|expert_00): cannot convert this part$") as caught:
        carry_out(both, 1, tmp_path, Silent())
    assert list(caught.value.errors) == ["onnx"]
    assert {"litert/gate", "litert/expert_00"} <= caught.value.results.keys()
    for one in both:
        ((_, file),) = one.targets
        assert file.is_file() is (one.backend == "litert")


def end_here(how):
    """End this process."""
    print("the last words", flush=True)
    os._exit(how) if how >= 0 else os.kill(os.getpid(), -how)


class Deadly(type(Path())):
    """A path that ends the process that receives it."""

    how = -signal.SIGKILL

    def __reduce__(self):
        return end_here, (self.how,)


def test_a_process_that_is_killed(own_checkpoint, tmp_path):
    with pytest.raises(ConversionError, match=r"a process that converts was killed, .*; use --jobs 1") as caught:
        carry_out([job(Deadly(own_checkpoint), tmp_path)], 2, tmp_path, Silent())
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("gate-*"))
    assert str(caught.value).endswith(f"(last words: the last words; all that it wrote: {tmp_path / 'convert.log'})")
    assert (tmp_path / "convert.log").read_text() == "the last words\n"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (-signal.SIGKILL, r"SIGKILL, perhaps for lack of memory; it was the only one, so close other programs"),
        (-signal.SIGSEGV, r"crashed \(SIGSEGV: Segmentation fault\); leave its backend out, or take another recipe"),
        (9, r"ended by itself, with exit code 9; leave its backend out"),
    ],
)
def test_how_a_process_ended_is_told(own_checkpoint, tmp_path, monkeypatch, how, words):
    monkeypatch.setattr(Deadly, "how", how)
    with pytest.raises(ConversionError, match=f"a process that converts .*{words}"):
        carry_out([job(Deadly(own_checkpoint), tmp_path)], 1, tmp_path, Silent())


def test_what_a_killed_process_had_half_written_goes(own_checkpoint, tmp_path):
    """Ctrl-C while a file is being written: what a later run finds is whole."""

    class Stop(Silent):
        def start(self, name, total, done=0):
            (tmp_path / ".x.onnx.1").write_bytes(b"another process's")

        def advance(self, name, note=""):
            (child,) = psutil.Process().children()
            (tmp_path / f".gate-fp32.onnx.{child.pid}").write_bytes(b"half")
            raise KeyboardInterrupt

    both = [job(own_checkpoint, tmp_path), job(own_checkpoint, tmp_path, "expert_00")]
    with pytest.raises(KeyboardInterrupt):
        carry_out(both, 1, tmp_path, Stop())
    assert {file.name for file in tmp_path.glob(".*")} == {".x.onnx.1", SCAFFOLD}  # what is done is entered there
    assert psutil.Process().children() == []


class Elsewhere(toolchain.Toolchain):
    """Of a backend that only this file knows; its artifacts are words."""

    backend = "elsewhere"
    packages = ()

    def trace(self, part, kind, example):
        return b"graph"

    def build(self, traced, part, kind, samples, recipes, origins=()):
        for recipe in recipes:
            yield f"{traced.decode()} by {recipe.name}".encode()

    def structure(self, artifact):
        return None

    compare = emulate = None


def test_a_backend_that_was_added_here_is_known_in_the_processes(own_checkpoint, tmp_path):
    where = f"{__name__}:Elsewhere"
    record = msgspec.structs.replace(table.record("onnx"), name="elsewhere", toolchain=where)
    one = msgspec.structs.replace(job(own_checkpoint, tmp_path), backend="elsewhere")
    table.register(record)
    try:
        carry_out([one], 1, tmp_path, Silent())
    finally:
        table._RECORDS.pop("elsewhere")
    assert one.targets[0][1].read_bytes() == b"graph by fp32"


def test_an_error_in_a_process_arrives_as_it_is(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is not a folder; expected a checkpoint"):
        carry_out([job(tmp_path / "nowhere", tmp_path)], 1, tmp_path, Silent())
