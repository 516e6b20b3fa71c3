"""Parts are converted in processes of their own: several at once, and their tools' chatter goes to a log file."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import msgspec
import numpy as np
from torch import nn

from edge_moe.converters import litert, recipes
from edge_moe.errors import ConversionError
from edge_moe.nn import build_base
from edge_moe.output import write_file
from edge_moe.progress import Progress
from edge_moe.training.checkpoint import load_part, read_config

__all__ = ["Job", "convert_parts", "load"]

_LOG = "convert.log"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One part to convert by every recipe."""

    checkpoint: Path
    part: str
    samples: Path  # .npy of inputs [N, 1, ...], channels last, to calibrate on
    targets: dict[str, Path]  # recipe -> the file to write


def convert_parts(jobs: list[Job], processes: int, folder: Path, progress: Progress) -> None:
    """Carry out `jobs`, `processes` at a time; what their tools print goes to a log in `folder`.

    Raises:
        ConversionError: a part could not be converted; the message names it.
    """
    context = multiprocessing.get_context("spawn")
    log = folder / _LOG
    progress.start("converting", len(jobs))
    with ProcessPoolExecutor(min(processes, len(jobs)), context, _start, (log,)) as pool:
        pending: dict[Future[None], str] = {pool.submit(_convert, job): job.part for job in jobs}
        try:
            for done in as_completed(pending):
                done.result()
                progress.advance("converting", pending[done])
        except BrokenProcessPool:
            raise ConversionError(
                f"a process that converts was killed, perhaps for lack of memory; use --jobs 1{_last_line(log)}"
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    log.unlink(missing_ok=True)


def _start(log: Path) -> None:
    """Send this process's stdout and stderr, those of native code too, to `log`; end with the one that started it.

    An orphan of a killed conversion would write its artifacts into the folder of the next one.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def load(job: Job) -> nn.Module:
    """Return the part to convert, with its weights."""
    config = read_config(job.checkpoint)
    base = build_base(config.architecture)
    part: nn.Module = base
    if job.part == "gate":
        part = base.new_gate(config.experts, config.architecture.image_size)
    elif job.part != "base":
        part = base.new_expert()
    load_part(job.checkpoint, job.part, part)
    return part


def _convert(job: Job) -> None:
    part, samples = load(job), np.load(job.samples)
    try:
        model = litert.export(part, samples[0])
        for name, target in job.targets.items():
            write_file(target, litert.calibrate_and_quantize(model, samples, recipes.get(name)))
    except ConversionError as error:
        raise ConversionError(f"{job.part}: {error}") from None


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return f" (last words: {lines[-1][:200]})" if lines else ""
