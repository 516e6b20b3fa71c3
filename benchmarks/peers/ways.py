"""What one would do without this toolkit, on the same images, in the same run.

base only                     the network as it was, by the backend's own call
base + its expert, always     the mixture without early exit
all experts, always           what tracing a mixture into one program gives: every branch runs
one graph with If             the whole early exit inside one ONNX program
stock int8                    base and expert as the backend's quantizer makes them by itself
torch eager                   the checkpoint as it was trained

A plain network has what is about the base.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from edge_moe.anytime import ensemble, top
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.wire import Peer
from edge_moe.bundle import expert_name
from edge_moe.converters import recipes
from edge_moe.errors import ConversionError
from edge_moe.progress import Progress
from edge_moe.runtime import Runtime
from edge_moe.sets import FLOAT, SetKey
from edge_moe.turns import bare

__all__ = ["StockFiles", "Way", "make_stock_parts", "ways"]

_EAGER, _TORCH = "torch eager", SetKey("torch", FLOAT)
_STOCK = "stock int8"
_GIVE_CHECKPOINT = "needs the checkpoint; repeat with --checkpoint"
_CALIBRATED_ON = 8  # images


StockFiles: TypeAlias = "dict[str, dict[SetKey, Path]]"


class Way(NamedTuple):
    """One way to answer."""

    peer: Peer
    call: Callable[[int], Any] | None  # of the index of a timed image; None: cannot be measured


def make_stock_parts(job: Job, progress: Progress) -> StockFiles:
    """Convert base and expert of the job's checkpoint as each quantizer does by itself: kind -> set -> file.

    Before the process is pinned, which the processes that convert would inherit.

    Raises:
        ConversionError, CheckpointError: the checkpoint cannot be used.
    """
    if job.checkpoint is None:
        return {}
    from edge_moe.benchmarks.peers.stock import make_stock

    images, features, folder = list(job.inputs[:_CALIBRATED_ON]), [], (job.kept or job.folder) / "stock"
    wanted = {one.backend for one in job.sets}
    if not job.bundle.manifest.experts:
        return make_stock(
            wanted, job.checkpoint, {"base": np.stack(images)}, (job.kept or job.folder) / "stock", progress
        )
    artifacts = job.sets[0]
    with Runtime(job.bundle, backend=artifacts.backend, recipe=artifacts.recipe.name) as runtime:
        base = runtime.part("base")
        for image in images:
            base.invoke(image)
            features.append(base.output("features"))
    samples = {"base": np.stack(images), "expert": np.stack(features)}
    return make_stock(wanted, job.checkpoint, samples, folder, progress)


def ways(job: Job, runtimes: Sequence[Runtime], stock: StockFiles, stack: contextlib.ExitStack) -> list[Way]:
    """Return all ways to answer the job's images; `stack` undoes what they had to set.

    Raises:
        ConversionError, CheckpointError: the checkpoint cannot be used.
        MissingExtraError: a package is not installed.
    """
    found: list[Way] = []
    for runtime in runtimes:
        found += _parts(job, runtime)
        if runtime.artifacts.backend == "onnx" and runtime.manifest.experts:
            try:
                found += _one_graph(job, runtime)
            except ConversionError as error:  # one alternative less is no reason to measure nothing
                lost = _peer("one graph with If", runtime.artifacts.key, "", missing=str(error))
                found.append(Way(lost, None))
    if job.checkpoint is None:
        backends = sorted({runtime.artifacts.backend for runtime in runtimes})
        missing = [(_STOCK, SetKey(backend, recipes.book(backend).stock.name)) for backend in backends]
        for name, key in (*missing, (_EAGER, _TORCH)):
            found.append(Way(_peer(name, key, "", missing=_GIVE_CHECKPOINT), None))
    else:
        found += _stock(job, runtimes[0], stock)
        found += _eager(job, job.checkpoint, stack)
    return found


def _peer(name: str, key: SetKey, about: str, tau: float | None = None, missing: str | None = None) -> Peer:
    return Peer(name=name, backend=key.backend, recipe=key.recipe, about=about, tau=tau, missing=missing)


def _parts(job: Job, runtime: Runtime) -> list[Way]:
    manifest, artifacts = runtime.manifest, runtime.artifacts
    key = artifacts.key
    base = bare(runtime.part("base"))
    raw = base.native_call()
    whole = "the network by the backend's own call"
    about = "the base by the backend's own call: no gate, no expert" if manifest.experts else whole
    alone = Way(
        _peer("base only", key, about),
        lambda index: raw(job.inputs[index]),
    )
    if not manifest.experts:
        return [alone]
    gate = bare(runtime.part("gate"))
    experts = [bare(runtime.part(expert_name(k))) for k in range(manifest.experts)]

    def answer(index: int, run: Callable[[int], Sequence[int]]) -> Any:
        base.invoke(job.inputs[index])
        logits = base.output("logits")[0]
        gate.invoke(base.output("embedding"))
        best = top(gate.output("logits")[0])[0]
        features = base.output("features")
        answers = {}
        for k in run(best):
            experts[k].invoke(features)
            answers[k] = experts[k].output("logits")[0]
        return int(ensemble(logits, answers[best], manifest.ensemble, manifest.space).argmax())

    every = range(manifest.experts)
    return [
        alone,
        Way(
            _peer("base + its expert, always", key, "base, gate and the gate's first choice, written out"),
            lambda index: answer(index, lambda best: (best,)),
        ),
        Way(
            _peer("all experts, always", key, "every expert runs for every image, part by part"),
            lambda index: answer(index, lambda best: every),
        ),
    ]


def _one_graph(job: Job, runtime: Runtime) -> list[Way]:
    from edge_moe.benchmarks.peers.one_graph import OneGraph, all_experts_graph, early_exit_graph

    artifacts = runtime.artifacts
    key = artifacts.key
    graph = OneGraph(early_exit_graph(job.bundle, artifacts), threads=job.plan.threads)
    traced = OneGraph(all_experts_graph(job.bundle, artifacts), threads=job.plan.threads)

    def at(tau: float) -> Callable[[int], Any]:
        return lambda index: graph(job.inputs[index], tau)

    settings = next(one.settings for one in job.plan.sets if one.set == str(key))
    about = "the whole early exit in one ONNX program, the same artifacts inside"
    found = [
        Way(_peer("one graph with If", key, about, tau=tau), at(tau))
        for tau in (one.tau for one in settings if one.max_experts == 1)
    ]
    about = "one ONNX program without control flow, as a trace gives: every branch runs, a mask chooses"
    found.append(Way(_peer("one graph, all experts", key, about), lambda index: traced(job.inputs[index], 0.0)))
    return found


def _stock(job: Job, runtime: Runtime, files: StockFiles) -> list[Way]:
    from edge_moe.benchmarks.peers.stock import stock_call

    image, base = job.inputs[0], runtime.part("base")
    base.invoke(image)
    found = []
    for key, file in files["base"].items():
        first = stock_call(key, file, job.plan.threads, image)
        about = "as its quantizer makes it by itself"
        found.append(Way(_peer(f"{_STOCK}, base only", key, about), _ignoring(first)))
        if not runtime.manifest.experts:
            continue
        then = stock_call(key, files["expert"][key], job.plan.threads, base.output("features"))
        about = "base, then one expert; no gate"
        found.append(Way(_peer(f"{_STOCK}, base + expert", key, about), _ignoring(first, then)))
    return found


def _ignoring(*calls: Callable[[], Any]) -> Callable[[int], Any]:
    """Call on tensors that are at hand: latency does not depend on what is in them."""

    def call(_: int) -> Any:
        for one in calls:
            one()

    return call


def _eager(job: Job, checkpoint: Path, stack: contextlib.ExitStack) -> list[Way]:
    import torch

    from edge_moe.training.checkpoint import load_checkpoint

    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(job.plan.threads)
    mixture = load_checkpoint(checkpoint).mixture.eval()
    inputs = [torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))) for x in job.inputs]

    gate = mixture.gate

    def answer(index: int, experts: Callable[[int], Sequence[int]]) -> int:
        assert gate is not None
        with torch.inference_mode():
            out = mixture.base(inputs[index])
            best = int(gate(out.embedding).argmax())
            for k in experts(best):
                mixture.experts[k](out.features)
        return best

    def base(index: int) -> None:
        with torch.inference_mode():
            mixture.base(inputs[index])

    alone = Way(_peer(f"{_EAGER}, base only", _TORCH, "the checkpoint as it is"), base)
    if gate is None:
        return [alone]
    every = range(len(mixture.experts))
    return [
        alone,
        Way(
            _peer(f"{_EAGER}, base + its expert", _TORCH, "the gate's first choice, always"),
            lambda index: answer(index, lambda best: (best,)),
        ),
        Way(
            _peer(f"{_EAGER}, all experts", _TORCH, "every expert, always"),
            lambda index: answer(index, lambda best: every),
        ),
    ]
