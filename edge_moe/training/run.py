"""The whole training, step by step, in a folder that a killed run goes on in.

Everything is made in CHECKPOINT.partial: a part that is in its ledger is finished, a `.state` file is a part that was
interrupted between two epochs. A file is gone on with only if it is what was written, and made from what is there
now: the gate from this base, an expert from this base and gate. The checkpoint gets its name when all parts are there.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from edge_moe.bundle import expert_name, part_names
from edge_moe.checkpoint import CONFIG, CheckpointConfig, DataDigest, check_part, read_config, write_config
from edge_moe.checks import check_at_least_one
from edge_moe.data import LabelledImages, open_data
from edge_moe.embedded import EMBEDDED
from edge_moe.errors import CheckpointError, DataError, UsageError
from edge_moe.nn import Base, Gate, build_base
from edge_moe.output import partial_path
from edge_moe.progress import Progress, Silent
from edge_moe.sizes import short_size_text
from edge_moe.text import nfc
from edge_moe.training.base import train_base
from edge_moe.training.checkpoint import load_part, load_parts, tool_versions
from edge_moe.training.done import AGREEMENT, EMBEDDINGS, Done
from edge_moe.training.experts import train_expert
from edge_moe.training.fit import pick_device
from edge_moe.training.gate import cluster, embed, train_gate
from edge_moe.training.images import Images, fits_in_memory
from edge_moe.training.measure import collect_torch, mixture_metrics
from edge_moe.training.plan import TrainingPlan, take_up
from edge_moe.training.processes import in_processes
from edge_moe.training.readable import readable
from edge_moe.training.record import record_data
from edge_moe.work import Work, making

__all__ = ["TrainingPlan", "retrain_expert", "train"]

_log = logging.getLogger(__name__)

_PARTS = "*.safetensors"
_OWN = (CONFIG, _PARTS, EMBEDDINGS, AGREEMENT, "*.state")
_KEPT = "gate_agreement_train"


def train(
    plan: TrainingPlan,
    out: Path,
    *,
    force: bool = False,
    jobs: int = 1,
    workers: int = 0,
    leave_out_unreadable: bool = False,
    progress: Progress | None = None,
) -> CheckpointConfig:
    """Train base, gate and experts as `plan` says, and write the checkpoint `out`; without experts the base alone.

    `jobs`: experts that train at once, each in a process of its own. `workers`: processes that decode images.
    `leave_out_unreadable`: train without files that are no images, with a note; else these are told before anything is
    trained.
    A run that was killed is taken up where it stood. Uses a GPU when torch has one.

    Raises:
        DataError: the data cannot be used. UsageError: the plan cannot be carried out.
        OutputError: `out` exists and `force` is not given, or is being made by another process; or something else, as
            an unfinished run with another plan or on other images, is in the folder in which it is made.
    """
    with making(out, "train", force=force, own=_OWN) as work:
        return _train(work, plan, jobs, workers, leave_out_unreadable, progress or Silent())


def _train(
    work: Work, plan: TrainingPlan, jobs: int, workers: int, leave_out: bool, progress: Progress
) -> CheckpointConfig:
    check_at_least_one(jobs=jobs)
    images, validation = _open(plan)
    plan.check()
    images, validation = _readable(plan, (images, validation), leave_out, workers, progress)
    if plan.experts > len(images):
        raise UsageError(f"{plan.experts} experts need at least as many training images; found {len(images)}")
    if len(images) < 2 or plan.config.batch_size < 2:
        raise UsageError(
            f"found {len(images)} training images in batches of {plan.config.batch_size}; "
            "expected at least 2 of each: one image has no batch statistics"
        )
    if plan.architecture.size != plan.preprocessing.size:
        raise UsageError(
            f"the architecture takes {short_size_text(plan.architecture.image_size)} pixels, the preprocessing gives "
            f"{short_size_text(plan.preprocessing.image_size)}; expected the same"
        )
    record = record_data(images, validation)
    take_up(work, plan, record)
    run = _Run(plan, work.folder, images, workers, progress)
    config = _make(run, validation, record.digest(), jobs)
    work.gather(CONFIG, _PARTS)
    work.publish()
    work.drop()
    return config


def retrain_expert(
    out: Path,
    index: int,
    *,
    data: str | None = None,
    workers: int = 0,
    leave_out_unreadable: bool = False,
    progress: Progress | None = None,
) -> CheckpointConfig:
    """Train one expert of the finished checkpoint `out` again, alone, under the plan that the checkpoint records.

    `data` says where the images are now, if not where they were; they have to be the same, with those left out that
    were left out then (`leave_out_unreadable`). The checkpoint is replaced
    when all is done; until then the work is in a folder beside it, where a killed run is taken up.

    Raises:
        CheckpointError: `out` is no checkpoint that edge-moe trained, or another part of it was altered since.
        UsageError: there is no expert `index`.
        DataError: the data cannot be used, or are not what the checkpoint was trained on.
        OutputError: another process makes `out`, or something else is in the folder in which this is done.
    """
    with making(out, "train", folder=expert_folder(out, index), own=_OWN, amends=True) as work:
        return _retrain(work, out, index, data, workers, leave_out_unreadable, progress or Silent())


def expert_folder(out: Path, index: int) -> Path:
    """Return the folder in which `retrain_expert` works."""
    return partial_path(out.parent / f"{out.name}.{expert_name(index)}")


def _retrain(
    work: Work, out: Path, index: int, data: str | None, workers: int, leave_out: bool, progress: Progress
) -> CheckpointConfig:
    config = read_config(out)
    if config.training is None:
        raise CheckpointError(
            f"{out} was {config.origin}, not trained by edge-moe; its experts cannot be trained again"
        )
    if not config.experts:
        raise UsageError(f"there is no expert {index}: {out} is a plain network, without experts")
    if not 0 <= index < config.experts:
        raise UsageError(f"there is no expert {index}; expected 0 to {config.experts - 1}")
    training = config.training
    if data is not None:
        training = msgspec.structs.replace(training, data=data if data in EMBEDDED else str(Path(data).resolve()))
    plan = TrainingPlan(
        architecture=config.architecture,
        experts=config.experts,
        labels=config.labels,
        preprocessing=config.preprocessing,
        config=training,
    )
    images, validation = _readable(plan, _open(plan), leave_out, workers, progress)
    name = expert_name(index)
    record = record_data(images, validation)
    if config.trained_on and (difference := config.trained_on.difference(record.digest())):
        raise DataError(
            f"{training.data} is not what {out} was trained on: found {difference}; say where those images are now, or "
            "train a new checkpoint"
        )
    others = [part for part in part_names(plan.experts) if part != name]
    for part in others:
        check_part(out, part, config.parts.get(part))
    planned = msgspec.structs.replace(plan, config=config.training)  # wherever the images are now
    take_up(work, planned, record, expert=index)
    run = _Run(plan, work.folder, images, workers, progress)
    run.done.take(out, others)
    run.done.file(AGREEMENT).write(msgspec.json.encode({_KEPT: config.metrics.get(_KEPT)}))
    config = _make(run, validation, config.trained_on, jobs=1)
    work.gather(CONFIG, _PARTS, beside=out)
    work.publish()
    work.drop()
    return config


def _open(plan: TrainingPlan) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and the validation images, once they and the network are known to fit the plan."""
    images = open_data(plan.config.data, "train", strict=True)
    if len(images.classes) < 2:
        raise DataError(
            f"{images.name} has 1 class, {images.classes[0]!r}; expected at least 2, each a folder of its images: "
            "with one there is nothing to tell apart"
        )
    if sorted(images.classes) != sorted(map(nfc, plan.labels)):  # given weights may have them in another order
        raise DataError(
            f"{images.name} has {len(images.classes)} classes that are not those of the run; "
            f"expected {len(plan.labels)}, the ones that it was planned for"
        )
    validation = open_data(plan.config.data, "val", strict=True).with_classes(plan.labels)
    if absent := sorted(set(range(len(plan.labels))) - set(validation.labels.tolist())):
        few = f" ({len(absent)} such of {len(plan.labels)})" if len(absent) > 1 else ""
        _log.info(f"{validation.name} has no image of the class {plan.labels[absent[0]]!r}{few}: no accuracy counts it")
    base = build_base(plan.architecture)  # one that is not what it should be is refused before anything is made
    if plan.experts:
        base.new_gate(plan.experts, plan.architecture.image_size)  # one without a branch point, too
    return images.with_classes(plan.labels), validation


def _readable(
    plan: TrainingPlan,
    opened: tuple[LabelledImages, LabelledImages],
    leave_out: bool,
    workers: int,
    progress: Progress,
) -> tuple[LabelledImages, LabelledImages]:
    """Return training and validation images without files that cannot be read; those that are kept are read later."""
    spec = plan.preprocessing
    images, validation = (
        readable(one, spec, leave_out=leave_out, workers=workers, progress=progress)
        if leave_out or not fits_in_memory(one, spec)
        else one
        for one in opened
    )
    return images, validation


def _make(run: _Run, validation: LabelledImages, trained_on: DataDigest | None, jobs: int) -> CheckpointConfig:
    """Make the parts that are missing, measure the mixture, and write its config."""
    plan = run.plan
    images = Images(validation, plan.preprocessing)  # first: a file that cannot be read is told before the training
    run.make_base(images)
    if plan.experts:
        run.make_gate()
    missing = [k for k in range(plan.experts) if not run.done.has(expert_name(k))]
    if jobs > 1 and len(missing) > 1:
        run.embeddings  # noqa: B018  (written once, before the processes read them)
        vars(run).pop("images", None)  # each process reads its own
        _experts_in_processes(run, missing, min(jobs, len(missing)))
    else:
        for k in missing:
            run.make_expert(k)

    mixture = load_parts(run.partial, plan.architecture, plan.experts)
    mixture.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    outputs = collect_torch(mixture, images, workers=run.workers, progress=run.progress)
    metrics = mixture_metrics(outputs, validation.labels, plan.config.ensemble, plan.config.space, validation.groups)
    config = CheckpointConfig(
        architecture=plan.architecture,
        experts=plan.experts,
        labels=plan.labels,
        preprocessing=plan.preprocessing,
        ensemble=plan.config.ensemble,
        space=plan.config.space,
        origin="trained",
        training=plan.config,
        trained_on=trained_on,
        metrics=metrics | (msgspec.json.decode((run.partial / AGREEMENT).read_bytes()) if plan.experts else {}),
        tools=tool_versions(*(["scikit-learn"] if plan.experts else [])),  # of k-means
        parts=run.done.digests(part_names(plan.experts)),
    )
    write_config(run.partial, config)
    return read_config(run.partial)  # what gets the checkpoint's name can be loaded; its parts were, above


class _Run:
    """The steps of a run. Each leaves a file in `partial` and is skipped where its file is there already."""

    def __init__(
        self, plan: TrainingPlan, partial: Path, source: LabelledImages, workers: int, progress: Progress
    ) -> None:
        self.plan, self.partial, self.workers, self.progress = plan, partial, workers, progress
        self.done, self.device = Done(partial), pick_device()
        self.source = source

    @cached_property
    def images(self) -> Images:
        """The training images, decoded when the first step asks for them."""
        return Images(self.source, self.plan.preprocessing, self.progress)

    @cached_property
    def base(self) -> Base:
        """The finished base, frozen."""
        base = build_base(self.plan.architecture).to(self.device)
        load_part(self.partial, "base", base)
        frozen: Base = base.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return frozen

    @cached_property
    def gate(self) -> Gate:
        """The finished gate, frozen, on the CPU."""
        gate = Gate(self.embeddings.shape[1], self.plan.experts)
        load_part(self.partial, "gate", gate)
        return gate.requires_grad_(False).eval()

    @cached_property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """The embeddings of the training images, not augmented: [N, E]."""
        kept = self.done.file(EMBEDDINGS)
        if kept.is_done():
            stored: npt.NDArray[np.float32] = np.load(kept.file)
            return stored
        made = embed(self.base, self.images, self.progress, workers=self.workers)
        buffer = io.BytesIO()
        np.save(buffer, made)
        kept.write(buffer.getvalue())
        return made

    def make_base(self, validation: Images) -> None:
        if self.done.has("base"):
            return
        torch.manual_seed(self.plan.config.seed)
        base = build_base(self.plan.architecture).to(self.device)
        state = self.done.state("base")
        train_base(
            base,
            self.images,
            self.plan.config,
            progress=self.progress,
            workers=self.workers,
            state=state,
            validation=validation,
        )
        self.done.keep("base", base)

    def make_gate(self) -> None:
        if self.done.has("gate") and self.done.file(AGREEMENT).is_done():
            return
        clusters = cluster(self.embeddings, self.plan.experts, self.plan.config)
        if not self.done.has("gate"):
            self.done.keep("gate", train_gate(self.embeddings, clusters, self.plan.config, self.progress))
        chosen = self.gate(torch.from_numpy(self.embeddings)).argmax(dim=1).numpy()
        agreement = float((chosen == clusters.nearest(self.embeddings)).mean())
        self.done.file(AGREEMENT).write(msgspec.json.encode({_KEPT: agreement}))

    def make_expert(self, index: int) -> None:
        name = expert_name(index)
        expert = train_expert(
            self.base,
            self.gate,
            index,
            self.images,
            torch.from_numpy(self.embeddings),
            self.plan.config,
            progress=self.progress,
            workers=self.workers,
            state=self.done.state(name),
        )
        self.done.keep(name, expert)


# --- experts in processes of their own ---


_run_here: _Run  # of a process that trains experts, set when it starts


def _start_worker(plan: TrainingPlan, partial: Path, source: LabelledImages, threads: int, progress: Progress) -> None:
    global _run_here
    torch.set_num_threads(threads)
    _run_here = _Run(plan, partial, source, 0, progress)
    _run_here.images = Images(source, plan.preprocessing)  # not reported: each process would


def _expert_job(index: int) -> None:
    _run_here.make_expert(index)


def _experts_in_processes(run: _Run, indices: Sequence[int], jobs: int) -> None:
    # The same list of images: the folder may have changed by now.
    arguments = (run.plan, run.partial, run.source, max(1, torch.get_num_threads() // jobs))
    in_processes(_start_worker, arguments, _expert_job, indices, jobs, run.progress)
