"""Parts are converted in processes of their own: several at once, and their tools' chatter goes to a log file.

First the graph of each kind of part is traced, once for all experts; as soon as that is done, its parts are built.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import nn

from edge_moe import backends
from edge_moe.backends import table
from edge_moe.checkpoint import read_config
from edge_moe.converters import toolchain
from edge_moe.converters.in_float import tried_in_float, worth_trying
from edge_moe.converters.interface import Floats, Kind, channels_first, kind_of
from edge_moe.converters.kernels import KernelNoise, kernel_noise
from edge_moe.converters.layers import Ranking, rank
from edge_moe.converters.origin import Origin
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.toolchain import Structure
from edge_moe.errors import BackendError, ConversionError
from edge_moe.ledger import keep
from edge_moe.nn import build_base
from edge_moe.output import remove_half_written
from edge_moe.pool import Pool, WorkerLost
from edge_moe.progress import Progress
from edge_moe.sets import FLOAT
from edge_moe.training.checkpoint import load_part

__all__ = ["FailedBackends", "Job", "Made", "carry_out", "load", "rank_part"]

_LOG = "convert.log"


class FailedBackends(ConversionError):
    """Backends of which a part could not be converted; the parts of the others were."""

    def __init__(self, errors: dict[str, ConversionError], results: dict[str, Any]) -> None:
        """`errors`: backend -> the first of its errors; `results`: what came of the rest, as `carry_out` returns it."""
        super().__init__("; ".join(map(str, errors.values())))
        self.errors, self.results = errors, results


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One part to convert for one backend; what is there already is only looked at."""

    backend: str
    checkpoint: Path
    part: str
    samples: Path  # .npy of inputs [N, 1, ...], channels last, to calibrate on
    graph: Path  # the traced graph of its kind; made if it is not there
    targets: tuple[tuple[Recipe, Path], ...]  # how to quantize, and the file to write
    plain: bool = False  # whether the checkpoint is a plain network, whose base is alone
    tries_float: bool = False  # whether ranking layers tries out how many have to stay in float

    @property
    def kind(self) -> Kind:
        """Of the part."""
        return kind_of(self.part, plain=self.plain)

    @property
    def is_unmade(self) -> bool:
        """Whether an artifact is missing."""
        return not all(file.is_file() for _, file in self.targets)

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.backend}/{self.part}"

    def without(self, recipes: Collection[str]) -> Job:
        """Return the job without the targets of `recipes`, by name."""
        return msgspec.structs.replace(self, targets=tuple(one for one in self.targets if one[0].name not in recipes))


class Made(NamedTuple):
    """What came of a trace or of a job."""

    seconds: float | None  # that making took; None: all was there
    structures: dict[Path, Structure | None]  # by file, of every artifact of the job; None: there is no delegate
    unmade: dict[str, str]  # recipe -> why the part cannot be made by it


def carry_out(
    jobs: Sequence[Job],
    processes: int,
    folder: Path,
    progress: Progress,
    do: Callable[[Job], Any] | None = None,
    step: str = "converting",
) -> dict[str, Any]:
    """Make the artifacts of `jobs`, `processes` at a time; what their tools print goes to a log in `folder`.

    A backend with an error gets no more work, and no part is made by a recipe by which another could not be.

    Args:
        jobs: the graph of each kind of part is traced once, before its parts are made.
        processes: at most so many.
        folder: of the conversion.
        progress: is told of each job.
        do: what to do with each job instead of making its artifacts.
        step: what that is called.

    Returns:
        What came of each trace and each job, by its label: `Made`, or what `do` returned.

    Raises:
        FailedBackends: a part could not be converted, the message names it; the other backends are done.
        ConversionError: a process was killed.
    """
    untraced = {job.graph: job for job in reversed(jobs) if job.is_unmade and not job.graph.is_file()}
    todo: list[tuple[Callable[[Job], Any], Job, str]] = [
        (_trace, job, f"{job.backend}/{job.kind} graph") for job in untraced.values()
    ]
    progress.start(step, len(todo) + len(jobs))
    todo += [(do or _build, job, job.label) for job in jobs if job.graph not in untraced]
    results: dict[str, Any] = {}
    failed: dict[str, ConversionError] = {}
    unmade: dict[str, set[str]] = {}  # backend -> recipes
    if not todo:
        return results
    log = folder / _LOG
    pool = Pool(processes, _start, (table.records(), processes), log=log)
    try:
        with pool:
            pending = {pool.submit(what, job): (what, job, name) for what, job, name in todo}
            while finished := pool.wait():
                for future in finished:
                    if future not in pending:  # its backend failed meanwhile
                        continue
                    what, job, name = pending.pop(future)
                    try:
                        result = future.result()
                    except ConversionError as error:
                        failed.setdefault(job.backend, error)
                        pending = {one: given for one, given in pending.items() if not _given_up(one, given[1], failed)}
                        continue
                    if job.backend in failed:
                        continue
                    results[name] = result
                    progress.advance(step, name)
                    following = []
                    if what is _trace:
                        following = [(do or _build, one, one.label) for one in jobs if one.graph == job.graph]
                    elif isinstance(result, Made) and result.unmade:
                        unmade.setdefault(job.backend, set()).update(result.unmade)
                        again = [one for one, given in pending.items() if _given_up(one, given[1], unmade)]
                        following = [pending.pop(one) for one in again]
                    for what, job, name in following:
                        fewer = job.without(unmade.get(job.backend, ()))
                        pending[pool.submit(what, fewer)] = (what, fewer, name)
    except WorkerLost as lost:
        raise ConversionError(_how_lost(lost, processes, log)) from None
    finally:
        remove_half_written(folder, pool.ended)
    if failed:
        raise FailedBackends(failed, results)
    log.unlink(missing_ok=True)
    return results


def _how_lost(lost: WorkerLost, processes: int, log: Path) -> str:
    """Say what happened to a process, what to do, and where more is."""
    advice = "leave its backend out, or take another recipe"
    if lost.memory:
        advice = "use --jobs 1" if processes > 1 else "it was the only one, so close other programs or add memory"
    words = f" (last words: {lost.words}; all that it wrote: {log})" if lost.words else ""
    return f"a process that converts {lost}; {advice}{words}"


def _given_up(future: Future[Any], job: Job, failed: Mapping[str, object]) -> bool:
    """Take back work of a backend in which something failed; what already runs is waited for."""
    return job.backend in failed and future.cancel()


def _start(records: Sequence[table.Record], processes: int) -> None:
    """Know the backends that the process knows which asked, and leave the others their cores."""
    for record in records:
        table.register(record)
    if processes > 1:
        torch.set_num_threads(1)


def load(job: Job) -> nn.Module:
    """Return the part to convert, with its weights."""
    config = read_config(job.checkpoint)
    base = build_base(config.architecture)
    part: nn.Module = base
    if job.kind == "gate":
        part = base.new_gate(config.experts, config.architecture.image_size)
    elif job.kind == "expert":
        part = base.new_expert()
    load_part(job.checkpoint, job.part, part, config.parts.get(job.part))
    return part.eval()


def _trace(job: Job) -> Made:
    start = perf_counter()
    with _naming(job):
        keep(job.graph, _traced(job))
    return Made(perf_counter() - start, {}, {})


def _traced(job: Job) -> bytes:
    return toolchain.get(job.backend).trace(load(job), job.kind, np.load(job.samples)[0])


def _build(job: Job) -> Made:
    start = perf_counter()
    structures, unmade = {}, {}
    part = functools.cache(lambda: load(job))
    with _naming(job):
        tools = toolchain.get(job.backend)
        missing = [target for target in job.targets if not target[1].is_file()]
        if missing:
            unmade = _make(job, tools, part(), missing)
        for recipe, file in job.targets:
            if recipe.name in unmade:
                continue
            try:
                artifact = file.read_bytes()
                found = tools.structure(artifact)
                if found is not None and not found.is_whole:
                    found = tools.structure(artifact, part())  # names what is outside
                structures[file] = found
            except BackendError as error:  # a quantizer can write what makes no sense
                unmade[recipe.name] = f"by recipe {recipe.name!r}, {error}; try another --recipe"
        if FLOAT in unmade:
            raise ConversionError(unmade[FLOAT])  # without its reference no other recipe can be judged
    named = {recipe: f"{job.label}: {why}" for recipe, why in unmade.items()}
    return Made(perf_counter() - start if missing else None, structures, named)


def _make(
    job: Job, tools: toolchain.Toolchain, part: nn.Module, missing: Sequence[tuple[Recipe, Path]]
) -> dict[str, str]:
    """Write the artifacts that are `missing`; return recipe -> why the part cannot be made by it."""
    graph, samples = job.graph.read_bytes(), np.load(job.samples)
    unmade, left = {}, list(missing)
    while left:
        made = tools.build(graph, part, job.kind, samples, [recipe for recipe, _ in left], _origins(job, left))
        try:
            for (_, file), artifact in zip(tuple(left), made, strict=True):
                keep(file, artifact)
                del left[0]
        except ConversionError as error:
            unmade[left.pop(0)[0].name] = str(error)  # the others have nothing to do with it
    return unmade


def _origins(job: Job, targets: Sequence[tuple[Recipe, Path]]) -> list[Origin]:
    """Return what the artifacts are to say of themselves; a file is called by what its artifact is made from."""
    network = read_config(job.checkpoint).architecture.base
    return [
        Origin(name=network, part=job.part.partition("_")[0], set=f"{job.backend}/{recipe.name}", digest=file.stem)
        for recipe, file in targets
    ]


def rank_part(job: Job) -> Ranking:
    """Rank the layers of a part: something to do with a job that has one recipe, and whose artifact is there."""
    ((recipe, file),) = job.targets
    with _naming(job):
        tools = toolchain.get(job.backend)
        traced = job.graph.read_bytes() if job.graph.is_file() else _traced(job)  # not there if all was taken over
        part, samples = load(job), np.load(job.samples)
        layers = rank(tools.compare(traced, part, job.kind, samples, recipe))
        kernels = _kernels(job, traced, part, samples) if file.is_file() else None
        tries = job.tries_float and not (kernels and kernels.is_suspect)
        names = worth_trying(layers, recipe.keep_float) if tries else []
        in_float = tried_in_float(tools, traced, part, job.kind, samples, recipe, names) if names else {}
        return Ranking(layers, kernels, names, in_float)


@torch.no_grad()
def _kernels(job: Job, traced: bytes, part: nn.Module, samples: Floats) -> KernelNoise:
    """Compare what the artifact answers here with what its graph says, and that with torch."""
    ((recipe, file),) = job.targets
    artifact = file.read_bytes()
    opened = backends.get(job.backend).open(artifact)
    try:
        rows = []
        emulated = toolchain.get(job.backend).emulate(artifact, traced, part, samples, recipe)
        for sample, logits in zip(samples, emulated, strict=False):  # of the first samples
            out = part(channels_first(sample))
            opened.invoke(sample)
            rows.append(((out.logits if job.part == "base" else out).numpy(), logits, opened.output("logits")))
        return kernel_noise(rows)
    finally:
        opened.close()


@contextmanager
def _naming(job: Job) -> Iterator[None]:
    """Say which part of which backend an error is about; a backend's own is one of the conversion too."""
    try:
        yield
    except (ConversionError, BackendError) as error:
        raise ConversionError(f"{job.label}: {error}") from None
