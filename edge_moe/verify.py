"""Does this device compute what the one that made the bundle computed? Hashes, then the golden samples.

What all sets share comes first: preprocessing of the image files, and the exit rule on numbers alone. Then every part
is fed what the golden samples store as its input, so that an error shows where it arises; then the whole is asked, as
an app would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from edge_moe import backends
from edge_moe.anytime import Floats
from edge_moe.backends import Backend, OpenPart, Tensor
from edge_moe.bundle import GOLDEN_FEED, Artifact, ArtifactSet, Bundle, GoldenSample
from edge_moe.certificates import in_words, stale
from edge_moe.checks import check_threads
from edge_moe.comparing import Check, relative_error
from edge_moe.errors import BackendError, BundleError, EdgeMoeError, IntegrityError
from edge_moe.here import unmet
from edge_moe.runtime import Runtime
from edge_moe.sets import Pattern, SetKey, select
from edge_moe.verify_shared import verify_shared

__all__ = ["Check", "Tolerance", "relative_error", "verify"]

Tolerance: TypeAlias = Callable[[ArtifactSet, str], float | None]  # see `verify`

_Golden = dict[str, dict[str, Tensor]]  # input -> tensor -> values


class _Allowed(NamedTuple):
    """How far something may be off."""

    error: float
    words: str

    @classmethod
    def of(cls, bundle: float, device: float | None) -> _Allowed:
        """By the bundle's tolerance, or by the device's own where that is more."""
        if device is not None and device > bundle:
            return cls(device, f"the device's own tolerance {device:.1e}")
        return cls(bundle, f"tolerance {bundle:.1e}")


def verify(
    bundle: str | Path | Bundle,
    *,
    backend: str | Backend | None = None,
    recipe: str | None = None,
    sets: Sequence[SetKey] = (),
    threads: int = 1,
    engines: Callable[[str], Backend] | None = None,
    tolerance: Tolerance | None = None,
) -> list[Check]:
    """Check the files, preprocessing and exit rule, and every part and the whole answers of the sets of a bundle.

    Args:
        bundle: the folder, or the opened bundle.
        backend: only this backend's sets; None is all of them. An object is used as it is.
        recipe: only the sets of this recipe; None is all of them.
        sets: only these; none is all of them.
        threads: of the backend, from 1 to 1024.
        engines: name of a backend -> what runs its artifacts, on another device than this one; None: this machine does.
        tolerance: a set, one of its parts -> that device's own, where it rounds elsewhere than those that a bundle's
            tolerances are for: an error up to it passes, where the bundle's is less. Which answer, by which experts,
            has to be the same all the same. None: the bundle's holds.

    Returns:
        The checks in the order in which they were made. A part whose file was altered is not run. Of a set that cannot
        run on this machine the files are hashed, and one check says that it was skipped; that fails where the set was
        asked for, or where none can run.

    Raises:
        UsageError: the bundle has no such set, or no backend so many threads.
        BundleError: the manifest is malformed, or a file is missing or has another size.
        MissingExtraError: the backend is not installed.
    """
    check_threads(threads)
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    name = backend.name if isinstance(backend, Backend) else backend
    wanted = {one.key: one for one in opened.manifest.matching(name, recipe)}  # raises where there is none, as select
    chosen = select(wanted, [Pattern((key.backend,), key.recipe) for key in sets])
    checks = verify_shared(opened)
    asked = bool(sets) or isinstance(backend, str) or recipe is not None
    runnable = [key for key in chosen if engines or unmet(wanted[key].runs_on) is None]
    for artifacts in (wanted[key] for key in chosen):
        needs = None if engines else unmet(artifacts.runs_on)
        if needs is not None:
            checks += _hashes(opened, artifacts)
            passed = not asked and len(runnable) > 0
            checks.append(Check(str(artifacts.key), "set", passed, f"cannot run here: {needs}", skipped=passed))
            continue
        engine = backend if isinstance(backend, Backend) else (engines or backends.get)(artifacts.backend)
        checks += _verify_set(opened, artifacts, engine, threads, tolerance or _bundles)
    return checks


def _bundles(artifacts: ArtifactSet, part: str) -> float | None:
    """Say that a bundle's own tolerance holds."""
    return None


def _verify_set(
    bundle: Bundle, artifacts: ArtifactSet, backend: Backend, threads: int, tolerance: Tolerance
) -> list[Check]:
    name = str(artifacts.key)
    checks = _hashes(bundle, artifacts)
    intact = [part for part, check in zip(artifacts.parts, checks, strict=False) if check.passed]
    if not checks[-1].passed:
        return checks
    try:
        golden = bundle.golden(artifacts)
    except BundleError as error:
        return [*checks[:-1], Check(name, artifacts.golden.file.file, False, str(error))]
    checks += _certificate(bundle, artifacts)
    for part in intact:
        allowed = _Allowed.of(artifacts.golden.allowed(part), tolerance(artifacts, part))
        checks += _verify_part(bundle, artifacts, backend, threads, part, golden, allowed)
    own = [one for one in (tolerance(artifacts, part) for part in artifacts.parts) if one is not None]
    bundles = max((artifacts.golden.tolerance, *artifacts.golden.part_tolerances.values()))
    largest = _Allowed.of(bundles, max(own, default=None))
    for sample in artifacts.golden.samples:
        tensors = golden.get(sample.input, {})
        checks.append(_verify_whole(bundle, artifacts, backend, threads, sample, tensors, largest))
    for role in artifacts.golden.missing:
        why = "no image was found for it about which right kernels are sure to agree"
        checks.append(Check(name, f"answer, {role}", True, why, skipped=True))
    return checks


def _hashes(bundle: Bundle, artifacts: ArtifactSet) -> list[Check]:
    """Check the files of every part, in their order, and that of the golden samples."""
    files = (*artifacts.parts.values(), artifacts.golden.file)
    return [_file(bundle, str(artifacts.key), artifact) for artifact in files]


def _certificate(bundle: Bundle, artifacts: ArtifactSet) -> list[Check]:
    """Check that what the default tau promises was promised of these artifacts."""
    one = bundle.operating(artifacts)
    if one.certificate is None:
        return []
    problem = stale(one)
    return [Check(str(artifacts.key), "certificate", problem is None, problem or in_words(one.certificate))]


def _file(bundle: Bundle, name: str, artifact: Artifact) -> Check:
    try:
        bundle.read(artifact)
    except IntegrityError as error:
        return Check(name, artifact.file, False, str(error))
    return Check(name, artifact.file, True, f"sha256 {artifact.sha256[:12]}...")


def _verify_part(
    bundle: Bundle,
    artifacts: ArtifactSet,
    backend: Backend,
    threads: int,
    part: str,
    golden: _Golden,
    allowed: _Allowed,
) -> list[Check]:
    """Run one part on every sample that has its outputs; tell the worst of each output."""
    name, spec = str(artifacts.key), bundle.manifest.parts[part]
    wanted = [f"{part}.{one.name}" for one in spec.outputs]
    feed = GOLDEN_FEED[spec.kind]
    samples = {which: one for which, one in golden.items() if any(key in one for key in wanted)}
    if not samples:
        return [Check(name, part, False, f"no golden sample has {', '.join(wanted)}; convert again")]
    for which, one in samples.items():
        if missing := [key for key in (feed, *wanted) if key not in one]:
            return [Check(name, part, False, f"the golden sample {which} has no {', '.join(missing)}; convert again")]
    worst: dict[str, tuple[float, Check]] = {}
    try:
        opened = backend.open(bundle.read(artifacts.parts[part]), threads=threads)
        try:
            for error, check in _outputs(opened, samples, feed, part, wanted, name, allowed):
                if check.what not in worst or error > worst[check.what][0]:
                    worst[check.what] = error, check
        finally:
            opened.close()
    except (BackendError, IntegrityError) as error:
        return [*(check for _, check in worst.values()), Check(name, part, False, str(error))]
    return [check for _, check in worst.values()]


def _outputs(
    opened: OpenPart, samples: _Golden, feed: str, part: str, wanted: list[str], name: str, allowed: _Allowed
) -> Iterator[tuple[float, Check]]:
    """Yield how far off each output of each sample is, infinity where that is no number, and the check of it."""
    for one in samples.values():
        opened.invoke(one[feed])
        for what in wanted:
            yield _compare(name, what, opened.output(what.removeprefix(f"{part}.")), one[what], allowed)


def _verify_whole(
    bundle: Bundle,
    artifacts: ArtifactSet,
    backend: Backend,
    threads: int,
    expected: GoldenSample,
    golden: dict[str, Tensor],
    allowed: _Allowed,
) -> Check:
    name, what = str(artifacts.key), f"answer, {expected.role}"
    labels = bundle.manifest.labels
    scores = f"scores.{expected.role}"
    missing = [key for key in ("input", scores) if key not in golden]
    if missing:
        why = f"the golden sample {expected.input} has no {', '.join(missing)}; convert again"
        return Check(name, what, False, why)
    try:
        with Runtime(
            bundle,
            tau=expected.tau,
            max_experts=expected.max_experts,
            backend=backend,
            recipe=artifacts.recipe.name,
            threads=threads,
        ) as runtime:
            found = runtime.predict_tensor(golden["input"])
    except EdgeMoeError as error:
        return Check(name, what, False, str(error))
    at = f"at tau {expected.tau:g}, max_experts {expected.max_experts}"
    if (found.exited, found.experts, found.index) != (expected.exited, expected.experts, expected.label):
        return Check(
            name,
            what,
            False,
            f"{at}: expected {_answer(bundle, labels[expected.label], expected.experts)}, "
            f"found {_answer(bundle, found.label, found.experts)}",
        )
    _, compared = _compare(name, what, found.scores, golden[scores], allowed)
    alike = ""
    if not expected.exited:
        alike = {
            "label": f"; the base alone would say {labels[int(golden['base.logits'].argmax())]!r}",
            "probabilities": "; the base alone would give other probabilities",
            None: "; the base alone answers alike, so that this does not tell the two apart",
        }[expected.unlike_base]
    return Check(
        name, what, compared.passed, f"{_answer(bundle, found.label, found.experts)} {at}; {compared.detail}{alike}"
    )


def _compare(set_name: str, what: str, found: Floats, expected: Floats, allowed: _Allowed) -> tuple[float, Check]:
    if found.shape != expected.shape:
        detail = f"shape {list(found.shape)}, expected {list(expected.shape)}"
        return math.inf, Check(set_name, what, False, detail)
    error = relative_error(np.asarray(found), expected)
    # Not "error > tolerance": NaN fails.
    check = Check(set_name, what, error <= allowed.error, f"relative error {error:.1e}, {allowed.words}")
    return (math.inf if math.isnan(error) else error), check


def _answer(bundle: Bundle, label: str, experts: tuple[int, ...]) -> str:
    alone = "early exit" if bundle.manifest.experts else "the base, which is alone"
    return f"{label!r} by {'experts ' + ', '.join(map(str, experts)) if experts else alone}"
