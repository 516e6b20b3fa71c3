"""Making artifacts: every part of a checkpoint by every recipe that is tried, in processes of their own; none twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec

from edge_moe import backends
from edge_moe.converters import measure
from edge_moe.converters.interface import Floats, kind_of
from edge_moe.converters.keys import Keys
from edge_moe.converters.layers import Ranking
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.store import Store
from edge_moe.converters.toolchain import Structure
from edge_moe.converters.workers import FailedBackends, Job, Made, carry_out, rank_part
from edge_moe.progress import Progress
from edge_moe.sets import SetKey
from edge_moe.training.checkpoint import Checkpoint

__all__ = ["Maker"]


@dataclass(kw_only=True)
class Maker:
    """Makes the artifacts of one conversion, and says where they lie."""

    checkpoint: Path
    loaded: Checkpoint
    recipes: Mapping[SetKey, Recipe]  # of every set that may be tried
    images: Sequence[Floats]  # to calibrate on, each [1, H, W, 3]
    folder: Path  # of the unfinished conversion
    store: Store
    jobs: int
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)  # that making took, by part
    structures: dict[Path, Structure | None] = field(default_factory=dict)  # by file, of all that was made or looked at
    unmade: dict[SetKey, str] = field(default_factory=dict)  # why, of the sets of which a part cannot be made
    _jobs: dict[tuple[str, str], Job] = field(default_factory=dict, init=False)  # (backend, part) -> the last one
    _calibrated: bool = field(default=False, init=False)

    @cached_property
    def keys(self) -> Keys:
        """Under which the artifacts lie."""
        return Keys(checkpoint=self.checkpoint, loaded=self.loaded, recipes=self.recipes, images=self.images)

    def files(self, key: SetKey) -> dict[str, Path]:
        """Return part -> the file of its artifact, there or not."""
        suffix = backends.get(key.backend).suffix
        return {part: self.store.file(made_from, suffix) for part, made_from in self.keys.made_from[key].items()}

    def make(self, sets: Collection[SetKey]) -> None:
        """Make those artifacts of `sets` that are not there yet, and look at how those are split that are.

        Of a set that cannot be made, `unmade` says why; the others do not wait for it.

        Raises:
            FailedBackends: a part could not be converted; the parts of the other backends were.
            ConversionError: a process was killed.
        """
        todo, plain = [], not self.loaded.config.experts
        for backend in dict.fromkeys(key.backend for key in sets):
            keys = [key for key in sets if key.backend == backend]
            for part in self.keys.parts:
                kind = kind_of(part, plain=plain)
                job = Job(
                    backend=backend,
                    checkpoint=self.checkpoint,
                    part=part,
                    plain=plain,
                    samples=measure.samples_file(self.folder, kind),
                    graph=self.store.file(self.keys.graph(backend, kind), ".graph"),
                    targets=tuple(self._target(key, part) for key in keys if not self._is_known(key, part)),
                )
                self._jobs[backend, part] = job
                if job.targets:
                    todo.append(job)
        if any(job.is_unmade for job in todo):
            self._calibrate()
        try:
            made = carry_out(todo, self.jobs, self.folder, self.progress)
        except FailedBackends as error:
            self._count(error.results)
            raise
        self._count(made)

    def rank_layers(self, key: SetKey, parts: Iterable[str], tried: str | None = None) -> dict[str, Ranking]:
        """Return part -> its layers by the noise that quantizing adds in the set `key`, which was made.

        Of the part `tried` it is tried out how many layers have to stay in float.

        Raises:
            ConversionError: a part could not be converted.
        """
        self._calibrate()
        jobs = [
            msgspec.structs.replace(
                self._jobs[key.backend, part], targets=(self._target(key, part),), tries_float=part == tried
            )
            for part in parts
        ]
        try:
            ranked = carry_out(jobs, self.jobs, self.folder, self.progress, rank_part, "ranking layers")
        except FailedBackends as error:
            raise next(iter(error.errors.values())) from None
        return {job.part: ranked[job.label] for job in jobs}

    def _target(self, key: SetKey, part: str) -> tuple[Recipe, Path]:
        return self.recipes[key], self.files(key)[part]

    def _is_known(self, key: SetKey, part: str) -> bool:
        file = self.files(key)[part]
        return self.store.has(self.keys.made_from[key][part], file.suffix) and file in self.structures

    def _calibrate(self) -> None:
        """Write what the parts are calibrated on, once."""
        if not self._calibrated:
            measure.calibration_samples(self.loaded, self.images, self.folder, self.progress)
            self._calibrated = True

    def _count(self, made: Mapping[str, Made]) -> None:
        for name, one in made.items():
            self.structures |= one.structures
            for recipe, why in one.unmade.items():
                self.unmade.setdefault(SetKey(name.partition("/")[0], recipe), why)
            if one.seconds is not None:
                self.seconds[name] = self.seconds.get(name, 0.0) + one.seconds
