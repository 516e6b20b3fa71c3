"""Does this device compute what the one that made the bundle computed? Hashes, then the golden sample.

Every part is fed what the golden sample stores as its input, so that an error shows where it arises; then the
whole is asked once, as an app would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_moe import backends
from edge_moe.anytime import Floats
from edge_moe.backends import Backend, Tensor
from edge_moe.bundle import GOLDEN_FEED, ArtifactSet, Bundle
from edge_moe.errors import BackendError, BundleError, EdgeMoeError, IntegrityError
from edge_moe.runtime import Runtime

__all__ = ["Check", "relative_error", "verify"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    set: str  # backend/recipe
    what: str
    passed: bool
    detail: str


def verify(
    bundle: str | Path | Bundle,
    *,
    backend: str | Backend | None = None,
    recipe: str | None = None,
    threads: int = 1,
) -> list[Check]:
    """Check the files, every part and the whole answer of the sets of a bundle.

    Args:
        bundle: the folder, or the opened bundle.
        backend: only this backend's sets; None is all of them. An object is used as it is.
        recipe: only the sets of this recipe; None is all of them.
        threads: of the backend.

    Returns:
        The checks in the order in which they were made. A part whose file was altered is not run.

    Raises:
        UsageError: the bundle has no such set.
        BundleError: the manifest is malformed, or a file is missing or has another size.
        MissingExtraError: the backend is not installed.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
    name = backend.name if isinstance(backend, Backend) else backend
    opened.manifest.find(name, recipe)  # raises where there is none
    checks = _verify_network(opened)
    for artifacts in opened.manifest.sets:
        if name in (None, artifacts.backend) and recipe in (None, artifacts.recipe.name):
            engine = backend if isinstance(backend, Backend) else backends.get(artifacts.backend)
            checks += _verify_set(opened, artifacts, engine, threads)
    return checks


def _verify_network(bundle: Bundle) -> list[Check]:
    """Check the file by which a later conversion knows the network again; nothing runs it."""
    artifact = bundle.manifest.network
    if artifact is None:
        return []
    try:
        bundle.network()
    except BundleError as error:
        return [Check("network", artifact.file, False, str(error))]
    return [Check("network", artifact.file, True, f"sha256 {artifact.sha256[:12]}...")]


def relative_error(found: Floats, expected: Floats) -> float:
    """Return |found - expected| / |expected| in the L2 norm; NaN or infinity where an element is."""
    norm = float(np.linalg.norm(expected))
    return float(np.linalg.norm(found - expected)) / (norm if norm > 0 else 1.0)


def _verify_set(bundle: Bundle, artifacts: ArtifactSet, backend: Backend, threads: int) -> list[Check]:
    name = f"{artifacts.backend}/{artifacts.recipe.name}"
    checks: list[Check] = []
    intact: list[str] = []
    for part, artifact in artifacts.parts.items():
        try:
            bundle.read(artifact)
        except IntegrityError as error:
            checks.append(Check(name, artifact.file, False, str(error)))
        else:
            intact.append(part)
            checks.append(Check(name, artifact.file, True, f"sha256 {artifact.sha256[:12]}..."))
    file = artifacts.golden.file
    try:
        golden = bundle.golden(artifacts)
    except BundleError as error:
        return [*checks, Check(name, file.file, False, str(error))]
    checks.append(Check(name, file.file, True, f"sha256 {file.sha256[:12]}..."))

    for part in intact:
        checks += _verify_part(bundle, artifacts, backend, threads, part, golden)
    checks.append(_verify_whole(bundle, artifacts, backend, threads, golden))
    return checks


def _verify_part(
    bundle: Bundle,
    artifacts: ArtifactSet,
    backend: Backend,
    threads: int,
    part: str,
    golden: dict[str, Tensor],
) -> list[Check]:
    name = f"{artifacts.backend}/{artifacts.recipe.name}"
    spec = bundle.manifest.parts[part]
    missing = [k for k in (GOLDEN_FEED[spec.kind], *(f"{part}.{o.name}" for o in spec.outputs)) if k not in golden]
    if missing:
        return [Check(name, part, False, f"the golden sample has no {', '.join(missing)}; convert again")]
    checks: list[Check] = []
    allowed = artifacts.golden.part_tolerances.get(part, artifacts.golden.tolerance)
    try:
        opened = backend.open(bundle.read(artifacts.parts[part]), threads=threads)
        try:
            opened.invoke(golden[GOLDEN_FEED[spec.kind]])
            for output in spec.outputs:
                what = f"{part}.{output.name}"
                checks.append(_compare(name, what, opened.output(output.name), golden[what], allowed))
        finally:
            opened.close()
    except (BackendError, IntegrityError) as error:
        checks.append(Check(name, part, False, str(error)))
    return checks


def _verify_whole(
    bundle: Bundle, artifacts: ArtifactSet, backend: Backend, threads: int, golden: dict[str, Tensor]
) -> Check:
    name = f"{artifacts.backend}/{artifacts.recipe.name}"
    expected = artifacts.golden
    labels = bundle.manifest.labels
    missing = [key for key in ("input", "scores") if key not in golden]
    if missing:
        return Check(name, "answer", False, f"the golden sample has no {', '.join(missing)}; convert again")
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
        return Check(name, "answer", False, str(error))
    at = f"at tau {expected.tau:g}, max_experts {expected.max_experts}"
    if (found.exited, found.experts, found.index) != (expected.exited, expected.experts, expected.label):
        return Check(
            name,
            "answer",
            False,
            f"{at}: expected {_answer(bundle, labels[expected.label], expected.experts)}, "
            f"found {_answer(bundle, found.label, found.experts)}",
        )
    allowed = max((expected.tolerance, *expected.part_tolerances.values()))
    compared = _compare(name, "answer", found.scores, golden["scores"], allowed)
    return Check(
        name, "answer", compared.passed, f"{_answer(bundle, found.label, found.experts)} {at}; {compared.detail}"
    )


def _compare(set_name: str, what: str, found: Floats, expected: Floats, tolerance: float) -> Check:
    if found.shape != expected.shape:
        detail = f"shape {list(found.shape)}, expected {list(expected.shape)}"
        return Check(set_name, what, False, detail)
    error = relative_error(found, expected)
    # Not "error > tolerance": NaN fails.
    return Check(set_name, what, error <= tolerance, f"relative error {error:.1e}, tolerance {tolerance:.1e}")


def _answer(bundle: Bundle, label: str, experts: tuple[int, ...]) -> str:
    alone = "early exit" if bundle.manifest.experts else "the base, which is alone"
    return f"{label!r} by {'experts ' + ', '.join(map(str, experts)) if experts else alone}"
