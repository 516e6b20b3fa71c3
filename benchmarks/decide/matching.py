"""Are these results of this bundle? Asked by every command that uses a bundle and what was measured of it together."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edge_moe.benchmarks.measured import SetResults
from edge_moe.benchmarks.recorded import bundle_info
from edge_moe.benchmarks.results import Results, load
from edge_moe.bundle import ArtifactSet, Bundle
from edge_moe.digest import answers_digest
from edge_moe.errors import DataError
from edge_moe.sets import Pattern, in_turn

__all__ = ["Match", "match", "match_all"]


class Match(NamedTuple):
    """A set of a bundle, and what was measured of exactly it."""

    bundle: Bundle
    artifacts: ArtifactSet
    file: Path
    results: Results
    measured: SetResults

    @property
    def label(self) -> str:
        """What people call the set: backend/recipe."""
        return self.measured.label

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why these figures are to be taken with care, in words; empty: nothing was seen."""
        stopped = () if self.results.complete else (f"it was stopped after {self.results.rounds} rounds",)
        untrained = () if self.bundle.manifest.trained else ("the network is UNTRAINED: its answers are noise",)
        by, obtained = self.measured.decided_by, self.results.obtained()
        other = () if by is None else (f"the answers of {self.label} are those of {by}, which it was costed with",)
        modelled = () if obtained == "measured" else (f"its costs in {self.results.unit.name} are {obtained}",)
        found = (*stopped, *untrained, *other, *modelled, *self.results.conditions.remarks)
        return tuple(f"{self.file}: {doubt}" for doubt in found)


def match(bundle: Bundle, file: Path, *wanted: Pattern) -> Match:
    """Read results and find in them the first set that is `wanted`; of nothing wanted the first of `bundle`.

    Defaults and operating points of the bundle may differ from those at the time of the measurement: artifacts and
    rule alone decide what an image gets and what it costs.

    Raises:
        UsageError: the bundle has no such set.
        DataError: no results file; or the results lack the set, or are of other artifacts or of another rule.
    """
    results, there = load(file), {one.key: one for one in bundle.manifest.sets}
    measured_sets = {one.label: one for one in results.sets}
    keys = in_turn(there, wanted)
    key = next((one for one in keys if wanted and str(one) in measured_sets), keys[0])
    artifacts, label = there[key], str(key)
    measured = measured_sets.get(label)
    if measured is None:
        have = ", ".join(one.label for one in results.sets)
        raise DataError(
            f"{file} has nothing of {label}; it has {have}: name one of them with --set, or --backend and --recipe, "
            f"or measure {label} with 'edge-moe bench'"
        )
    return _matched(bundle, artifacts, file, results, measured)


def match_all(bundle: Bundle, file: Path) -> list[Match]:
    """Read results and find in them every set of `bundle`, in the bundle's order; those of other artifacts are not.

    Raises:
        DataError: no results file; or none of its sets is one of the bundle's, says why.
    """
    results, found, why = load(file), [], []
    measured = {one.label: one for one in results.sets}
    for artifacts in bundle.manifest.sets:
        if str(artifacts.key) in measured:
            try:
                found.append(_matched(bundle, artifacts, file, results, measured[str(artifacts.key)]))
            except DataError as error:
                why.append(str(error))
    if not found:
        none = f"{file} has no set of {bundle.path}; measure the bundle with 'edge-moe bench'"
        raise DataError(why[0] if why else none)
    return found


def _matched(bundle: Bundle, artifacts: ArtifactSet, file: Path, results: Results, measured: SetResults) -> Match:
    """Return the match; raise DataError where `measured` is of other artifacts or of another rule."""
    other = _difference(bundle, artifacts, results, measured)
    if other:
        raise DataError(
            f"{file} was measured on another bundle than {bundle.path}: {other}; "
            "measure this one with 'edge-moe bench', or give the bundle that was measured"
        )
    return Match(bundle, artifacts, file, results, measured)


def _difference(bundle: Bundle, artifacts: ArtifactSet, results: Results, measured: SetResults) -> str | None:
    """Return in words what decides other answers in the bundle than in the results; None: nothing does."""
    digest = answers_digest(bundle.manifest, artifacts)
    if measured.digest == digest:
        return None
    return _named_difference(bundle, artifacts, results, measured) or (
        f"the digest of {measured.label} is {digest[:12]}... here, {measured.digest[:12]}... there"
    )


def _named_difference(bundle: Bundle, artifacts: ArtifactSet, results: Results, measured: SetResults) -> str | None:
    """Return the same by rule and artifacts, where it can be named."""
    info = bundle_info(bundle.path.name, bundle.manifest)
    if results.bundle.rule_sha256 != info.rule_sha256:
        return "labels, preprocessing, number of experts or ensemble differ"
    here = {part: artifact.sha256 for part, artifact in artifacts.parts.items()}
    there = {part: artifact.sha256 for part, artifact in measured.artifacts.items()}
    differ = sorted(part for part in here.keys() | there.keys() if here.get(part) != there.get(part))
    return f"{', '.join(differ)} of {measured.label} differ(s)" if differ else None
