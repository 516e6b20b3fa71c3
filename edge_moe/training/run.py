"""The whole training, step by step, in a folder that a killed run goes on in.

Everything is made in CHECKPOINT.partial: a part that is there is finished, a `.state` file is a part that was
interrupted between two epochs. The folder gets the checkpoint's name when all parts are there.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch

from edge_moe.bundle import Preprocessing, expert_name
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import CheckpointError, DataError, OutputError, UsageError
from edge_moe.nn import Architecture, Base, Gate, SingleGateMoE, build_base
from edge_moe.output import check_target, partial_path, publish, write_file, writing
from edge_moe.progress import Progress, Silent
from edge_moe.training.base import train_base
from edge_moe.training.checkpoint import (
    CONFIG,
    CheckpointConfig,
    load_checkpoint,
    load_part,
    new_mixture,
    read_config,
    save_part,
    tool_versions,
    write_config,
)
from edge_moe.training.config import TrainingConfig
from edge_moe.training.experts import train_expert
from edge_moe.training.fit import pick_device
from edge_moe.training.gate import cluster, embed, train_gate
from edge_moe.training.images import Images
from edge_moe.training.measure import collect_torch, mixture_metrics

__all__ = ["Plan", "retrain_expert", "train"]

_PLAN, _EMBEDDINGS, _AGREEMENT = "plan.json", "embeddings.npy", "agreement.json"
_KEPT = "gate_agreement_train"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a run makes: two runs with equal plans make equal checkpoints."""

    architecture: Architecture
    experts: Annotated[int, msgspec.Meta(ge=1)]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    config: TrainingConfig


def train(
    plan: Plan,
    out: Path,
    *,
    force: bool = False,
    jobs: int = 1,
    workers: int = 0,
    progress: Progress | None = None,
) -> CheckpointConfig:
    """Train base, gate and experts as `plan` says, and write the checkpoint `out`.

    `jobs`: experts that train at once, each in a process of its own. `workers`: processes that decode images.
    A run that was killed is taken up where it stood. Uses a GPU when torch has one.

    Raises:
        DataError: the data cannot be used. UsageError: the plan cannot be carried out.
        OutputError: `out` exists and `force` is not given, or an unfinished run with another plan is in its place.
    """
    check_target(out, force=force)
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; expected at least 1")
    data = open_data(plan.config.data, "train", strict=True)
    if plan.experts > len(data):
        raise UsageError(f"{plan.experts} experts need at least as many training images; {data.name} has {len(data)}")
    partial = partial_path(out)
    _take_up(partial, plan, force=force)
    return _finish(plan, partial, out, data, jobs=jobs, workers=workers, progress=progress or Silent())


def retrain_expert(
    out: Path, index: int, *, data: str | None = None, workers: int = 0, progress: Progress | None = None
) -> CheckpointConfig:
    """Train one expert of the finished checkpoint `out` again, alone, under the plan that the checkpoint records.

    `data` says where the images are now, if not where they were. The checkpoint is replaced when all is done.

    Raises:
        CheckpointError: `out` is no checkpoint that edge-moe trained. UsageError: there is no expert `index`.
    """
    config = read_config(out)
    if config.training is None:
        raise CheckpointError(
            f"{out} was {config.origin}, not trained by edge-moe; its experts cannot be trained again"
        )
    if not 0 <= index < config.experts:
        raise UsageError(f"there is no expert {index}; expected 0 to {config.experts - 1}")
    training = msgspec.structs.replace(config.training, data=data or config.training.data)
    plan = Plan(
        architecture=config.architecture,
        experts=config.experts,
        labels=config.labels,
        preprocessing=config.preprocessing,
        config=training,
    )
    images = open_data(training.data, "train", strict=True)
    partial = partial_path(out)
    with writing(partial):
        if partial.exists():
            shutil.rmtree(partial)
        shutil.copytree(out, partial)
        (partial / CONFIG).unlink()
        (partial / f"{expert_name(index)}.safetensors").unlink()
    write_file(partial / _AGREEMENT, msgspec.json.encode({_KEPT: config.metrics.get(_KEPT)}))
    write_file(partial / _PLAN, msgspec.json.encode(plan))
    return _finish(plan, partial, out, images, jobs=1, workers=workers, progress=progress or Silent())


def _take_up(partial: Path, plan: Plan, *, force: bool) -> None:
    """Make `partial`, or go on in the one that an interrupted run with the same plan left."""
    file = partial / _PLAN
    if file.is_file() and not force:
        try:
            left = msgspec.json.decode(file.read_bytes(), type=Plan)
        except msgspec.MsgspecError:
            left = None
        if left == plan:
            return
        raise OutputError(
            f"{partial} holds an unfinished run with other settings{_first_difference(left, plan)}; "
            "repeat that command to go on, or add --force to start over"
        )
    with writing(partial):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    write_file(file, msgspec.json.encode(plan))


def _first_difference(left: Plan | None, plan: Plan) -> str:
    def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, item in value.items():
            if isinstance(item, dict):
                yield from flat(item, f"{key}.")
            else:
                yield prefix + key, item

    if left is None:
        return ""
    before, now = dict(flat(msgspec.to_builtins(left))), dict(flat(msgspec.to_builtins(plan)))
    for key, value in now.items():
        if before.get(key) != value and key != "labels":
            return f" ({key.split('.')[-1]} was {before.get(key)}, now {value})"
    return ""


def _finish(
    plan: Plan, partial: Path, out: Path, data: LabelledImages, *, jobs: int, workers: int, progress: Progress
) -> CheckpointConfig:
    """Make the parts that are missing in `partial`, measure the mixture, and publish."""
    if data.classes != plan.labels:
        raise DataError(
            f"{data.name} has other classes than the run was planned for; expected {len(plan.labels)} classes"
        )
    validation = open_data(plan.config.data, "val", strict=True).with_classes(plan.labels)
    device = pick_device()
    images: Images | None = None

    def training_images() -> Images:
        # Decoded only if a part is missing, and once.
        nonlocal images
        images = images or Images(data, plan.preprocessing, progress)
        return images

    base, gate = _base_and_gate(plan, partial, training_images, device, workers, progress)
    missing = [k for k in range(plan.experts) if not (partial / f"{expert_name(k)}.safetensors").is_file()]
    if missing and jobs > 1 and len(missing) > 1:
        images = None  # each process reads its own
        _experts_in_processes(plan, partial, missing, min(jobs, len(missing)), progress)
    else:
        for k in missing:
            _train_and_save(plan, partial, k, base, gate, training_images(), workers, progress)

    mixture = new_mixture(plan.architecture, plan.experts)
    load_part(partial, "base", mixture.base)
    load_part(partial, "gate", mixture.gate)
    for k in range(plan.experts):
        load_part(partial, expert_name(k), mixture.experts[k])
    mixture.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    metrics = _metrics(plan, mixture, Images(validation, plan.preprocessing), workers, progress)
    agreement = partial / _AGREEMENT
    metrics |= msgspec.json.decode(agreement.read_bytes()) if agreement.is_file() else {}
    config = CheckpointConfig(
        architecture=plan.architecture,
        experts=plan.experts,
        labels=plan.labels,
        preprocessing=plan.preprocessing,
        ensemble=plan.config.ensemble,
        space=plan.config.space,
        origin="trained",
        training=plan.config,
        metrics=metrics,
        tools=tool_versions("scikit-learn"),
    )
    write_config(partial, config)
    load_checkpoint(partial)  # what gets the checkpoint's name can be loaded
    for scaffold in (_PLAN, _EMBEDDINGS, _AGREEMENT):
        (partial / scaffold).unlink(missing_ok=True)
    publish(partial, out)
    return config


def _base_and_gate(
    plan: Plan, partial: Path, training_images: Any, device: torch.device, workers: int, progress: Progress
) -> tuple[Base, Gate]:
    """Load or train the base, then the gate; both frozen, on `device`. Leaves the embeddings for the experts."""
    torch.manual_seed(plan.config.seed)
    base = build_base(plan.architecture).to(device)
    if (partial / "base.safetensors").is_file():
        load_part(partial, "base", base)
        base.requires_grad_(False).eval()
    else:
        state = partial / "base.state"
        train_base(base, training_images(), plan.config, progress=progress, workers=workers, state=state)
        save_part(partial, "base", base)
        state.unlink(missing_ok=True)
    base = base.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not (partial / _EMBEDDINGS).is_file():
        embeddings = embed(base, training_images(), progress, workers=workers)
        with writing(partial), (partial / f".{_EMBEDDINGS}").open("wb") as stream:
            np.save(stream, embeddings)
        (partial / f".{_EMBEDDINGS}").rename(partial / _EMBEDDINGS)
    embeddings = np.load(partial / _EMBEDDINGS)
    gate = Gate(embeddings.shape[1], plan.experts).requires_grad_(False)
    if (partial / "gate.safetensors").is_file():
        load_part(partial, "gate", gate)
    else:
        clusters = cluster(embeddings, plan.experts, plan.config)
        gate = train_gate(embeddings, clusters, plan.config, progress)
        chosen = gate(torch.from_numpy(embeddings)).argmax(dim=1).numpy()
        agreement = float((chosen == clusters.nearest(embeddings)).mean())
        write_file(partial / _AGREEMENT, msgspec.json.encode({_KEPT: agreement}))
        save_part(partial, "gate", gate)
    return base, gate


def _train_and_save(
    plan: Plan, partial: Path, index: int, base: Base, gate: Gate, images: Images, workers: int, progress: Progress
) -> None:
    embeddings = torch.from_numpy(np.load(partial / _EMBEDDINGS))
    state = partial / f"{expert_name(index)}.state"
    expert = train_expert(
        base, gate, index, images, embeddings, plan.config, progress=progress, workers=workers, state=state
    )
    save_part(partial, expert_name(index), expert)
    state.unlink(missing_ok=True)


def _metrics(plan: Plan, mixture: SingleGateMoE, images: Images, workers: int, progress: Progress) -> dict[str, Any]:
    outputs = collect_torch(mixture, images, workers=workers, progress=progress)
    return mixture_metrics(outputs, images.source.labels, plan.config.ensemble, plan.config.space)


# --- experts in processes of their own ---


class _QueueProgress:
    """Sends reports to the process that started this one, and ends with it."""

    def __init__(self, reports: Any) -> None:
        self._reports, self._parent = reports, os.getppid()

    def start(self, name: str, total: int, done: int = 0) -> None:
        self._reports.put(("start", name, total, done))

    def advance(self, name: str, note: str = "") -> None:
        if os.getppid() != self._parent:
            os._exit(1)  # the run was killed; an orphan must not write beside the run that takes over
        self._reports.put(("advance", name, note))


_worker: dict[str, Any] = {}


def _start_worker(plan: Plan, partial: Path, threads: int, reports: Any) -> None:
    torch.set_num_threads(threads)
    device = pick_device()
    _worker.update(plan=plan, partial=partial, progress=_QueueProgress(reports))
    base, gate = _base_and_gate(plan, partial, None, device, 0, Silent())
    _worker.update(base=base, gate=gate)
    _worker["images"] = Images(open_data(plan.config.data, "train", strict=True), plan.preprocessing)


def _expert_job(index: int) -> None:
    w = _worker
    _train_and_save(w["plan"], w["partial"], index, w["base"], w["gate"], w["images"], 0, w["progress"])


def _experts_in_processes(plan: Plan, partial: Path, indices: Sequence[int], jobs: int, progress: Progress) -> None:
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    reports = context.Queue()
    with (
        _forwarding(reports, progress),
        ProcessPoolExecutor(jobs, context, _start_worker, (plan, partial, threads, reports)) as pool,
    ):
        try:
            for finished in [pool.submit(_expert_job, index) for index in indices]:
                finished.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _forwarding(reports: Any, progress: Progress) -> Iterator[None]:
    """Pass what arrives in the queue `reports` on to `progress` while the block runs."""
    done = threading.Event()

    def forward() -> None:
        while not done.is_set() or not reports.empty():
            try:
                kind, *arguments = reports.get(timeout=0.1)
            except queue.Empty:
                continue
            getattr(progress, kind)(*arguments)

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
