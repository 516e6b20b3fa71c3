"""What is asked for: a bundle, the sets of it, images, and a target that can be used; checked once, before minutes."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edge_moe import backends
from edge_moe.backends.imported import installed
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.options import FIVE_RUNS, BenchOptions, check_range
from edge_moe.benchmarks.recorded import bundle_info
from edge_moe.benchmarks.target import Target
from edge_moe.bundle import ArtifactSet, Bundle, Manifest
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import CheckpointError, UsageError
from edge_moe.here import able
from edge_moe.records import file_sha256
from edge_moe.sets import Pattern, patterns
from edge_moe.sizes import short_size_text
from edge_moe.text import counted

__all__ = ["Request", "check", "versions"]

_ROUNDS = FIVE_RUNS  # interleaved, where nobody says otherwise
_PEERS = ("onnx", "torch")  # that peers are made or run with


@dataclass(frozen=True)
class Request:
    """A measurement that can begin."""

    target: Target
    bundle: Bundle
    sets: tuple[ArtifactSet, ...]  # in the bundle's order
    routed_by: tuple[ArtifactSet, ...]  # whose decisions each is costed with
    images: LabelledImages
    data: str  # as the person named it
    options: BenchOptions

    @property
    def labelled(self) -> bool:
        """Whether the right classes are known, and mean something."""
        return self.images.labelled and self.bundle.manifest.trained

    @property
    def rounds(self) -> int:
        """How often everything is measured."""
        return self.options.rounds or (1 if self.target.counts_exactly else _ROUNDS)

    def key(self) -> dict[str, Any]:
        """Return all that the figures depend on, by names: what is kept of a run is not mixed with another's."""
        sets = []
        for one in self.sets:
            now = self.bundle.operating(one)
            sets.append((one.key, one.parts, [p.tau for p in now.operating_points], now.default_max_experts))
        stock = []
        if self.options.checkpoint is not None:
            folder = Path(self.options.checkpoint)
            stock = [(file.name, file_sha256(file)) for file in sorted(folder.iterdir()) if file.is_file()]
        groups = self.images.groups
        return {
            **msgspec.to_builtins(self.options),
            "rounds": self.rounds,
            "bundle": bundle_info(self.bundle.path.resolve().name, self.bundle.manifest),
            "sets": sets,
            "data": self.data,
            "images": [(str(one), one.stat().st_size) for one in self.images.sources if isinstance(one, Path)],
            "labels": self.images.labels.tolist(),
            "groups": None if groups is None else groups.tolist(),
            "files of the checkpoint": stock,
            "machine or versions": (self.target.fingerprint(), versions(), _libraries()),
        }


def check(bundle: Path, data: str, options: BenchOptions) -> Request:
    """Return what is asked for, before minutes of measuring.

    Raises:
        UsageError: an option is out of range or not for this target, or there is no such target, or the bundle has no
            such set.
        BackendError: a set that is named cannot run where it is wanted, or none can.
        DataError, BundleError, CheckpointError: data, bundle or checkpoint cannot be used.
        MissingExtraError: a backend is not installed.
    """
    target = targets.get(options.device)
    opened = Bundle(bundle)
    manifest = opened.manifest
    check_range(options, manifest.experts)
    _check_target(target, options)
    selected = tuple(_selected(manifest, options, target))
    target.check(selected, options.threads)
    target.examine(opened, selected)
    routed_by = _routed_by(manifest, options, selected)
    for artifacts in dict.fromkeys(one.backend for one in routed_by):
        backends.get(artifacts).version()
    images = open_data(data, "val").with_classes(manifest.labels)
    if options.validation_images is not None:
        images = images.sample(options.validation_images, options.seed)
    if options.checkpoint is not None:
        _check_checkpoint(Path(options.checkpoint), manifest)
    return Request(target, opened, selected, routed_by, images, data, options)


def versions() -> dict[str, str]:
    """Return the versions of what decides and writes down."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("edge-moe", "numpy")},
    }


def _libraries() -> dict[str, str | None]:
    """Return the versions of all that runs parts or products, None where it is not installed."""
    executing = (name for one in backends.names() for name in backends.record(one).executes)
    return {name: installed(name) for name in (*_PEERS, *executing)}


def _selected(manifest: Manifest, options: BenchOptions, target: Target) -> list[ArtifactSet]:
    """Return the sets that the options name, in the bundle's order; every name must be that of a set that runs."""
    manifest.select([Pattern((name,)) for name in options.backends])
    wanted = patterns(options.sets, options.backends, options.recipes)
    if target.is_here:
        found = able(manifest, wanted)
        return found if wanted else [one for one in found if one.runs_on.npu is None] or found
    own = target.own_backend
    return manifest.select(wanted or ([] if own is None else [Pattern((own,))]))


def _check_target(target: Target, options: BenchOptions) -> None:
    """Raise UsageError where the target cannot do what an option asks for."""
    if options.sustained_minutes and not target.sustains:
        raise UsageError(
            f"{target.name} does not run predictions without a pause; leave --sustained away, or measure on one of "
            f"{', '.join(targets.sustaining())}"
        )
    if options.five_runs and target.counts_exactly:
        raise UsageError(
            f"{target.name} counts alike in every round: five runs tell no more than one; leave --five-runs away"
        )


def _routed_by(manifest: Manifest, options: BenchOptions, selected: tuple[ArtifactSet, ...]) -> tuple[ArtifactSet, ...]:
    """Return for each set the one that decides, on this machine: itself, or that which the options name."""
    if options.routing is None:
        return selected
    (one, *_) = able(manifest, patterns((options.routing,), (), ()))
    return (one,) * len(selected)


def _check_checkpoint(checkpoint: Path, manifest: Manifest) -> None:
    """Raise unless the checkpoint looks like what the bundle was made from: its latency would be another network's."""
    from edge_moe.checkpoint import read_config

    config = read_config(checkpoint)
    found = (config.architecture.base, config.architecture.size, config.architecture.classes, config.experts)
    spec = manifest.preprocessing
    expected = (manifest.architecture, spec.size, len(manifest.labels), manifest.experts)
    if found != expected:
        raise CheckpointError(
            f"{checkpoint} is {_words(found)}, but the bundle is {_words(expected)}; give the checkpoint that the "
            "bundle was made from"
        )


def _words(network: tuple[str, tuple[int, int], int, int]) -> str:
    base, size, classes, experts = network
    what = f"{base} for {short_size_text(size)} pixels and {classes} classes"
    return f"{what} with {counted(experts)}" if experts else f"{what} as a plain network"
