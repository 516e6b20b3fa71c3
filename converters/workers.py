"""Parts are converted in processes of their own: several at once, and their tools' chatter goes to a log file.

First the graph of each kind of part is traced, once for all experts; as soon as that is done, its parts are built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import msgspec
import numpy as np
import torch
from torch import nn

from edge_moe import backends
from edge_moe.backends import table
from edge_moe.checkpoint import read_config
from edge_moe.converters import toolchain
from edge_moe.converters.interface import Floats, Kind, channels_first, kind_of
from edge_moe.converters.kernels import KernelNoise, kernel_noise
from edge_moe.converters.layers import Ranking, rank
from edge_moe.converters.origin import Origin
from edge_moe.converters.recipe import Recipe
from edge_moe.errors import BackendError, ConversionError
from edge_moe.ledger import keep
from edge_moe.nn import build_base
from edge_moe.output import remove_half_written
from edge_moe.pool import Pool, WorkerLost
from edge_moe.progress import Progress
from edge_moe.training.checkpoint import load_part

__all__ = ["FailedBackends", "Job", "convert_parts", "load", "rank_layers", "structure_file"]

_LOG = "convert.log"


class FailedBackends(ConversionError):
    """Backends of which a part could not be converted; the parts of the others were."""

    def __init__(self, errors: dict[str, ConversionError], seconds: dict[str, float]) -> None:
        """`errors`: backend -> the first of its errors; `seconds`: as `convert_parts` returns them."""
        super().__init__("; ".join(map(str, errors.values())))
        self.errors, self.seconds = errors, seconds


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One part to convert for one backend; what is there already is only looked at."""

    backend: str
    checkpoint: Path
    part: str
    experts: int  # of the checkpoint; 0: the base is alone
    samples: Path  # .npy of inputs [N, 1, ...], channels last, to calibrate on
    graph: Path  # the traced graph of its kind; made if it is not there
    targets: tuple[tuple[Recipe, Path], ...]  # how to quantize, and the file to write

    @property
    def kind(self) -> Kind:
        """Of the part."""
        return kind_of(self.part, self.experts)

    @property
    def is_unmade(self) -> bool:
        """Whether an artifact is missing."""
        return not all(file.is_file() for _, file in self.targets)

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.backend}/{self.part}"


_Work: TypeAlias = tuple[Callable[[Job], Any], Job, str]  # what to do, with what, and its name


def convert_parts(jobs: Sequence[Job], processes: int, folder: Path, progress: Progress) -> dict[str, float]:
    """Carry out `jobs`, `processes` at a time; what their tools print goes to a log in `folder`.

    Beside each artifact, a file says how it is split, see `structure_file`.

    Returns:
        The seconds that each trace and each part that was made took, by their labels.

    Raises:
        FailedBackends: a part could not be converted, the message names it; the other backends are done.
        ConversionError: a process was killed.
    """
    untraced = {job.graph: job for job in reversed(jobs) if job.is_unmade and not job.graph.is_file()}
    traces = {f"{job.backend}/{job.kind} graph": job for job in untraced.values()}
    seconds: dict[str, float] = {}
    progress.start("converting", len(traces) + len(jobs))

    made = {*traces, *(job.label for job in jobs if job.is_unmade)}

    def done(name: str, took: float) -> list[_Work]:
        if name in made:
            seconds[name] = took
        progress.advance("converting", name)
        if name not in traces:
            return []
        return [(_build, job, job.label) for job in jobs if job.graph == traces[name].graph]

    ready = [(_build, job, job.label) for job in jobs if job.graph not in untraced]
    failed = _run([*((_trace, job, name) for name, job in traces.items()), *ready], done, processes, folder)
    if failed:
        raise FailedBackends(failed, seconds)
    return seconds


def structure_file(artifact: Path) -> Path:
    """Return where it is written how `artifact` is split."""
    return artifact.with_name(f"{artifact.name}.structure")


def rank_layers(jobs: Sequence[Job], processes: int, folder: Path, progress: Progress) -> dict[str, Ranking]:
    """Rank the layers of the part of each of `jobs`, by its label; it has one recipe, and its artifact is there.

    Raises:
        ConversionError: a part could not be converted.
    """
    ranked: dict[str, Ranking] = {}
    progress.start("ranking layers", len(jobs))

    def done(name: str, found: Ranking) -> list[_Work]:
        ranked[name] = found
        progress.advance("ranking layers", name)
        return []

    for error in _run([(_rank, job, job.label) for job in jobs], done, processes, folder).values():
        raise error
    return ranked


def _run(
    work: Sequence[_Work],
    done: Callable[[str, Any], Sequence[_Work]],
    processes: int,
    folder: Path,
) -> dict[str, ConversionError]:
    """Do `work`, function and argument under a name; `done` takes each result and may say what can be done next.

    A backend with an error gets no more work, the others do. Returns the first error of each that had one.
    """
    failed: dict[str, ConversionError] = {}
    if not work:
        return failed
    log = folder / _LOG
    pool = Pool(processes, _start, (table.records(), processes), log=log)
    try:
        with pool:
            pending: dict[Future[Any], tuple[str, Job]] = {pool.submit(do, job): (name, job) for do, job, name in work}
            while finished := pool.wait():
                for future in finished:
                    if future not in pending:  # its backend failed meanwhile
                        continue
                    name, job = pending.pop(future)
                    try:
                        result = future.result()
                    except ConversionError as error:
                        failed.setdefault(job.backend, error)
                        pending = {one: what for one, what in pending.items() if not _given_up(one, what[1], failed)}
                        continue
                    if job.backend not in failed:
                        for do, following, called in done(name, result):
                            pending[pool.submit(do, following)] = (called, following)
    except WorkerLost as lost:
        raise ConversionError(_how_lost(lost, processes, log)) from None
    finally:
        remove_half_written(folder, pool.ended)
    if not failed:
        log.unlink(missing_ok=True)
    return failed


def _how_lost(lost: WorkerLost, processes: int, log: Path) -> str:
    """Say what happened to a process, what to do, and where more is."""
    advice = "leave its backend out, or take another recipe"
    if lost.memory:
        advice = "use --jobs 1" if processes > 1 else "it was the only one, so close other programs or add memory"
    words = f" (last words: {lost.words}; all that it wrote: {log})" if lost.words else ""
    return f"a process that converts {lost}; {advice}{words}"


def _given_up(future: Future[Any], job: Job, failed: Mapping[str, object]) -> bool:
    """Take back work of a backend that failed; what already runs is waited for."""
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
    load_part(job.checkpoint, job.part, part)
    return part.eval()


def _trace(job: Job) -> float:
    start = perf_counter()
    with _naming(job):
        keep(job.graph, _traced(job))
    return perf_counter() - start


def _traced(job: Job) -> bytes:
    return toolchain.get(job.backend).trace(load(job), job.kind, np.load(job.samples)[0])


def _build(job: Job) -> float:
    start = perf_counter()
    with _naming(job):
        tools = toolchain.get(job.backend)
        missing = [target for target in job.targets if not target[1].is_file()]
        if missing:
            recipes = [recipe for recipe, _ in missing]
            origins = _origins(job, missing)
            made = tools.build(job.graph.read_bytes(), load(job), job.kind, np.load(job.samples), recipes, origins)
            for (_, file), artifact in zip(missing, made, strict=True):
                keep(file, artifact)
        for recipe, file in job.targets:
            try:
                structure = tools.structure(file.read_bytes())
            except BackendError as error:  # a quantizer can write what makes no sense
                raise ConversionError(f"by recipe {recipe.name!r}, {error}; try another --recipe") from None
            keep(structure_file(file), msgspec.json.encode(structure))
    return perf_counter() - start


def _origins(job: Job, targets: Sequence[tuple[Recipe, Path]]) -> list[Origin]:
    """Return what the artifacts are to say of themselves; a file is called by what its artifact is made from."""
    network = read_config(job.checkpoint).architecture.base
    return [
        Origin(name=network, part=job.part.partition("_")[0], set=f"{job.backend}/{recipe.name}", digest=file.stem)
        for recipe, file in targets
    ]


def _rank(job: Job) -> Ranking:
    ((recipe, file),) = job.targets
    with _naming(job):
        tools = toolchain.get(job.backend)
        traced = job.graph.read_bytes() if job.graph.is_file() else _traced(job)  # not there if all was taken over
        part, samples = load(job), np.load(job.samples)
        layers = rank(tools.compare(traced, part, job.kind, samples, recipe))
        return Ranking(layers, _kernels(job, traced, part, samples) if file.is_file() else None)


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
