"""Cost and accuracy of a bundle at every operating point, on a target.

The artifacts answer all validation images once; what they decide is the trace, from which exit rates, MACs and accuracy
of any operating point follow. Then the target answers a job: it costs parts and predictions, round after round; and, if
asked to, runs each set without a pause.
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from edge_moe.benchmarks.job import Job, write_job
from edge_moe.benchmarks.journal import JOB, Journal
from edge_moe.benchmarks.plan import make_plan
from edge_moe.benchmarks.recorded import Checked, RecordedSet, Routing, StoredTrace, bundle_info
from edge_moe.benchmarks.request import Request, versions
from edge_moe.benchmarks.results import Results
from edge_moe.benchmarks.routing import drawn, route_all
from edge_moe.benchmarks.sound import (
    Wanted,
    inconsistency,
    opening_problem,
    round_problem,
    shape,
    sustained_problem,
)
from edge_moe.benchmarks.sustained import window_ends
from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Opening, Round, Sustained
from edge_moe.data import NOISE
from edge_moe.digest import answers_digest
from edge_moe.errors import BackendError
from edge_moe.progress import Progress, Silent
from edge_moe.tensors import Tensors
from edge_moe.trace import Trace

__all__ = ["sweep"]

_OPENING, _SUSTAINED = "opening", "sustained"


def sweep(request: Request, *, journal: Journal | None = None, progress: Progress | None = None) -> Results:
    """Measure every set that is asked for on the validation images.

    Ctrl-C after the first round ends it early: the results then hold the rounds that were finished, and say that they
    are not complete. After the last one, while sets run without a pause, it leaves that away. With a journal, the same
    call goes on with the next round, or with what follows the rounds.

    Raises:
        MissingExtraError, BackendError: a backend is not installed, or refuses an artifact; or the target answered what
            was not asked.
        KeyboardInterrupt: before the first round was finished.
    """
    progress = progress or Silent()
    options, images = request.options, request.images
    tensors = Tensors(images, request.bundle.manifest.preprocessing, progress)
    timed = drawn(len(tensors), options.timed_images, options.seed)
    traces, checked = route_all(request, tensors, journal, progress)
    with ExitStack() as stack:
        folder = journal.folder if journal else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(shutil.rmtree, folder / JOB, ignore_errors=True)  # made anew in a moment
        job = write_job(
            folder / JOB,
            request.bundle,
            make_plan(request, traces, timed),
            [tensors[int(index)] for index in timed],
            [images.sources[int(index)] for index in timed],
            checkpoint=None if options.checkpoint is None else Path(options.checkpoint),
            kept=folder,
        )
        session = stack.enter_context(request.target.open(job, progress))
        _refuse(request.target.name, opening_problem(session.opening, SCHEMA_VERSION))
        lines = _rounds(session, job, journal, progress)
        sustained = _sustained(session, job, journal, progress) if len(lines) == request.rounds else ()
        results = Results(
            schema_version=SCHEMA_VERSION,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            sittings=journal.sittings if journal else 1,
            versions=versions(),
            bundle=bundle_info(request.bundle.path.resolve().name, request.bundle.manifest),
            data=images.title,
            images=len(images),
            labels=tuple(images.labels.tolist()) if request.labelled else None,
            groups=None if images.groups is None else tuple(images.groups.tolist()),
            fingerprints=tensors.fingerprints,
            timed=tuple(timed.tolist()),
            rounds_asked=request.rounds,
            threads=options.threads,
            seed=options.seed,
            remarks=_remarks(request),
            opening=session.opening,
            recorded=_recorded(request, job, traces, checked),
            lines=tuple(lines),
            five_runs=options.five_runs,
            sustained_s=options.sustained_s,
            sustained=sustained,
        )
    _refuse(request.target.name, inconsistency(results, results.lines))
    return results


def _remarks(request: Request) -> tuple[str, ...]:
    """Return what the harness itself has to say against the figures; an untrained network says enough by itself."""
    if request.data != NOISE or not request.bundle.manifest.trained:
        return ()
    return ("the images are noise: what parts cost is real, exit rates and the costs at a tau are those of noise",)


def _recorded(
    request: Request, job: Job, traces: Sequence[Trace], checked: Sequence[Checked | None]
) -> tuple[RecordedSet, ...]:
    manifest, found = request.bundle.manifest, []
    for place, artifacts in enumerate(request.sets):
        operating = request.bundle.operating(artifacts)
        found.append(
            RecordedSet(
                set=str(artifacts.key),
                artifacts={name: one.plain for name, one in artifacts.parts.items()},
                macs=manifest.macs,
                settings=job.plan.sets[place].settings,
                trace=StoredTrace.of(traces[place]),
                routing=Routing(set=str(request.routed_by[place].key), where="host"),
                digest=answers_digest(manifest, artifacts),
                default_tau=operating.default_tau,
                default_max_experts=operating.default_max_experts,
                certificate=operating.certificate,
                there=checked[place],
            )
        )
    return tuple(found)


def _rounds(session: Session, job: Job, journal: Journal | None, progress: Progress) -> list[Round]:
    """Return the rounds: those that an earlier sitting kept, and then what the target answers, checked line by line."""
    opening, parts = session.opening, frozenset(job.bundle.manifest.parts)
    wanted = [Wanted(one.set, len(one.settings), parts) for one in job.plan.sets]
    done = list[Round]()

    def problem(line: Round) -> str | None:
        found = round_problem(opening, wanted, line, job.plan.timed)
        if found is None and done and shape(line) != shape(done[0]):
            return "a round has not what the first had, with as many samples"
        return found

    step, asked = "timing", job.plan.rounds
    if journal:
        _refuse_another(journal, opening)
        while len(done) < asked and (line := journal.get(_name(len(done)), Round, lambda line: problem(line) is None)):
            done.append(line)
    progress.start(step, asked * session.steps, len(done) * session.steps)
    if len(done) == asked:
        return done
    if journal:
        journal.put(_OPENING, opening)
    try:
        for line in session.rounds(len(done), progress, step):
            _refuse(opening.target, problem(line))
            if journal:
                journal.put(_name(len(done)), line)
            done.append(line)
            if len(done) == asked:
                return done
    except KeyboardInterrupt:
        if not done:
            raise
        return done
    raise BackendError(
        f"{opening.target} stopped answering after {len(done)} of {asked} rounds; repeat the command to go on"
    )


def _sustained(session: Session, job: Job, journal: Journal | None, progress: Progress) -> tuple[Sustained, ...]:
    """Return what sets cost without a pause: as an earlier sitting kept it, or measured. Nothing if it is stopped."""
    asked = {one.set: one.sustained for one in job.plan.sets if one.sustained is not None}
    if not asked:
        return ()

    def problem(found: tuple[Sustained, ...]) -> str | None:
        return sustained_problem(found, asked, job.plan.sustained_s)

    kept = journal and journal.get(_SUSTAINED, tuple[Sustained, ...], lambda found: problem(found) is None)
    if kept:
        return kept
    progress.start(_SUSTAINED, len(asked) * len(window_ends(job.plan.sustained_s)))
    try:
        found = session.sustained(progress, _SUSTAINED)
    except KeyboardInterrupt:
        return ()
    _refuse(session.opening.target, problem(found))
    if journal:
        journal.put(_SUSTAINED, found)
    return found


def _refuse(target: str, problem: str | None) -> None:
    """Raise if there is something wrong with what a target answered."""
    if problem:
        raise BackendError(f"{target} answered what was not asked: {problem}; report this")


def _refuse_another(journal: Journal, opening: Opening) -> None:
    """Raise if there are rounds that were counted by another one, or in another way: neither mixed nor lost."""
    before = journal.get(_OPENING, Opening)
    if before is None or _decides(before) == _decides(opening) or not journal.has(_name(0)):
        return
    one, other = before.machine.title, opening.machine.title
    who = f"{other} answers" if one != other else f"{other} answers in another way (libraries, settings)"
    raise BackendError(
        f"{journal.folder} holds rounds of {one}, and now {who}; repeat the command there, measure into another folder "
        f"with -o, or remove {journal.folder}"
    )


def _decides(opening: Opening) -> Opening:
    """Return the opening without what may be another in each sitting: how busy and where on the machine it was."""
    return msgspec.structs.replace(opening, cpus=None, load=None, remarks=(), facts={})


def _name(number: int) -> str:
    return f"round-{number:04d}"
