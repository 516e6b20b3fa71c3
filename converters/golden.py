"""The golden samples of a bundle: chosen by what was measured, run once more through the artifacts, and written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_moe import backends, vectors
from edge_moe.backends import OpenPart, Tensor
from edge_moe.bundle import (
    GOLDEN_FEED,
    Artifact,
    Golden,
    GoldenInputs,
    GoldenSample,
    PartSpec,
    Preprocessing,
    expert_name,
    sha256,
)
from edge_moe.checkpoint import CheckpointConfig
from edge_moe.converters.golden_choice import NEEDED, SURE_EXIT, Fitness, Role, candidates, fitness, roles, unlike
from edge_moe.converters.golden_image import golden_image
from edge_moe.converters.tolerances import LARGEST, part_tolerance, tolerance
from edge_moe.data import LabelledImages
from edge_moe.evaluate import Outputs, route
from edge_moe.npz import pack
from edge_moe.output import write_file
from edge_moe.sets import SetKey

__all__ = ["write_golden"]

_log = logging.getLogger(__name__)

_FOLDER = "golden"


def write_golden(
    folder: Path,
    files: Mapping[SetKey, Mapping[str, Path]],
    measured: Mapping[SetKey, Outputs],
    images: LabelledImages,
    specs: Mapping[str, PartSpec],
    config: CheckpointConfig,
) -> tuple[GoldenInputs, dict[SetKey, Golden]]:
    """Write the golden samples of a bundle into `folder`; return what the manifest says of them.

    Args:
        folder: the bundle.
        files: of the sets that are shipped: set -> part -> its artifact.
        measured: what each of these sets gave for `images`.
        images: to choose from.
        specs: the parts, whatever the backend.
        config: of the checkpoint: labels, preprocessing, experts and ensemble.
    """
    inputs = _Inputs(images, config.preprocessing)
    fits = {str(key): _fits(measured[key], tolerance(*key), config) for key in files}  # set -> role
    golden = {}
    for key, parts in files.items():
        with ExitStack() as stack:
            backend = backends.get(key.backend)
            opened = {}
            for part, file in parts.items():
                opened[part] = backend.open(file.read_bytes())
                stack.callback(opened[part].close)
            one = _Set(key, opened, specs, config, inputs)
            one.choose(fits)
            golden[key] = one.written(folder)
    return inputs.written(
        folder, vectors.make(config.experts, len(config.labels), config.ensemble, config.space)
    ), golden


@dataclass
class _Inputs:
    """The images that are golden samples of any set: the file, and the tensor that preprocessing makes of it."""

    images: LabelledImages
    spec: Preprocessing
    seen: dict[int, tuple[bytes, npt.NDArray[np.float32]]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # of those that are used, in the order of their use

    def tensor(self, index: int) -> npt.NDArray[np.float32]:
        """Return the tensor of image `index`."""
        if index not in self.seen:
            self.seen[index] = golden_image(self.images.sources[index], self.spec)
        return self.seen[index][1]

    def use(self, index: int) -> str:
        """Return the name of image `index`, which is a golden sample from now on."""
        return self.names.setdefault(index, f"{len(self.names):02d}")

    def written(self, folder: Path, rule: bytes) -> GoldenInputs:
        """Write tensors, images and the golden vectors `rule`."""
        used = {name: self.seen[index] for index, name in self.names.items()}
        return GoldenInputs(
            # Compressed: they are 8 bits a pixel in float32, and as such the larger half of all golden files.
            tensors=_write(folder, "inputs.npz", pack({n: x for n, (_, x) in used.items()}, compressed=True)),
            images={name: _write(folder, f"{name}.png", png) for name, (png, _) in used.items()},
            vectors=_write(folder, "vectors.json", rule),
        )


class _Set:
    """The samples of one set."""

    def __init__(
        self,
        key: SetKey,
        parts: Mapping[str, OpenPart],
        specs: Mapping[str, PartSpec],
        config: CheckpointConfig,
        inputs: _Inputs,
    ) -> None:
        self._key, self._parts, self._specs, self._config, self._inputs = key, parts, specs, config, inputs
        self._ran: dict[int, dict[str, Tensor]] = {}  # image -> what every part gives
        self._own: dict[tuple[str, int], float] = {}  # (part, image) -> how far it may be off
        self._chosen: dict[Role, int] = {}
        self._missing: list[Role] = []

    def choose(self, fits: Mapping[str, Mapping[Role, Fitness]]) -> None:
        """Find an image for every role: the best by what was measured that still fits as the file that it becomes.

        `fits`: how well the images fit, set -> role.
        """
        for role in roles(self._config.experts):
            again = (SURE_EXIT,) if role.name == SURE_EXIT.name and self._config.experts else ()
            if not any(self._find(one, fits) for one in (role, *again)):
                self._missing.append(role)
        if not self._chosen:  # parts are checked all the same
            self._inputs.use(0)

    def _find(self, role: Role, fits: Mapping[str, Mapping[Role, Fitness]]) -> bool:
        """Choose an image for one role; return whether there is one."""
        everywhere = {name: by_role[role] for name, by_role in fits.items()}
        for index in candidates(everywhere, str(self._key), [*self._inputs.names]):
            if self._fits(role, index):
                self._chosen[role] = index
                self._inputs.use(index)
                return True
        return False

    def _fits(self, role: Role, index: int) -> bool:
        """Return whether the image has the role, clearly, also where a part is unsteady on it."""
        config, outputs = self._config, self._outputs(index)
        active = route(outputs, role.tau, role.max_experts, config.ensemble, config.space).active[0]
        parts = {"base", "gate"} & self._parts.keys() | {expert_name(int(k)) for k in np.flatnonzero(active)}
        # A part's own tolerance is twice what it was seen to move, and not multiplied further.
        allowed = max(tolerance(*self._key), *(self._own_tolerance(part, index) / NEEDED for part in parts))
        found = fitness(outputs, allowed, config.ensemble, config.space, (role,))
        return bool(found[role.name].tier[0])

    def _own_tolerance(self, part: str, index: int) -> float:
        """Return how far `part` may be off on image `index`."""
        if (part, index) not in self._own:
            spec = self._specs[part]
            given, names = self._run(index)[GOLDEN_FEED[spec.kind]], [one.name for one in spec.outputs]
            self._own[part, index] = part_tolerance(*self._key, self._parts[part], given, names)
        return self._own[part, index]

    def _run(self, index: int) -> dict[str, Tensor]:
        if index not in self._ran:
            tensors: dict[str, Tensor] = {"input": self._inputs.tensor(index)}
            for name, part in self._parts.items():
                part.invoke(tensors[GOLDEN_FEED[self._specs[name].kind]])
                for one in self._specs[name].outputs:
                    tensors[f"{name}.{one.name}"] = part.output(one.name)
            self._ran[index] = tensors
        return self._ran[index]

    def _outputs(self, index: int) -> Outputs:
        """Return the logits for image `index`, as the exit rule wants them."""
        ran, experts = self._run(index), self._config.experts
        base = ran["base.logits"]
        if not experts:
            return Outputs.of_base(base)
        logits = np.stack([ran[f"{expert_name(k)}.logits"] for k in range(experts)], axis=1)
        return Outputs(base, ran["gate.logits"], logits)

    def written(self, folder: Path) -> Golden:
        """Write what the parts and the whole gave for the chosen images, and return the record of it."""
        used = list(dict.fromkeys(self._chosen.values())) or [0]
        wanted: dict[int, set[str]] = {index: {"base", "gate"} & self._parts.keys() for index in used}
        routed = {}
        for role, index in self._chosen.items():
            outputs = self._outputs(index)
            routed[role] = route(outputs, role.tau, role.max_experts, self._config.ensemble, self._config.space)
            wanted[index] |= {expert_name(int(k)) for k in np.flatnonzero(routed[role].active[0])}
        wanted[used[0]] |= self._parts.keys() - set().union(*wanted.values())  # every part is run at least once
        tensors, tolerances = dict[str, npt.NDArray[np.float32]](), dict[str, float]()
        for index, parts in wanted.items():
            ran, name = self._run(index), self._inputs.names[index]
            for part in sorted(parts):
                named = (f"{part}.{one.name}" for one in self._specs[part].outputs)
                tensors |= {f"{name}/{one}": ran[one] for one in named}
                own = self._own_tolerance(part, index)
                if own > tolerance(*self._key):
                    tolerances[part] = max(own, tolerances.get(part, 0.0))
        for part in (part for part, own in tolerances.items() if own >= LARGEST):
            _log.info(
                "%s of %s is chaotic: the last bits of its input move its output by a quarter or more, so that "
                "'verify' can hardly tell right kernels from wrong ones; keep more of it in float, or train it again",
                part,
                self._key,
            )
        allowed = max((tolerance(*self._key), *tolerances.values()))
        samples = []
        for role, index in self._chosen.items():
            name, answer = self._inputs.names[index], routed[role]
            tensors[f"{name}/scores.{role.name}"] = answer.scores[0].astype(np.float32)
            samples.append(
                GoldenSample(
                    role=role.name,
                    input=name,
                    tau=role.tau,
                    max_experts=role.max_experts,
                    label=int(answer.predictions[0]),
                    exited=bool(answer.exited[0]),
                    experts=tuple(int(k) for k in np.flatnonzero(answer.active[0])),
                    unlike_base=unlike(self._outputs(index), answer, allowed),
                )
            )
        return Golden(
            file=_write(folder, f"{self._key.backend}-{self._key.recipe}.npz", pack(tensors)),
            tolerance=tolerance(*self._key),
            part_tolerances=tolerances,
            samples=tuple(samples),
            missing=tuple(role.name for role in self._missing),
        )


def _fits(outputs: Outputs, allowed: float, config: CheckpointConfig) -> dict[Role, Fitness]:
    """Return how well the images of `outputs` fit each role, and that which stands in for one."""
    wanted = roles(config.experts)
    found = fitness(outputs, allowed, config.ensemble, config.space, wanted)
    fits = {role: found[role.name] for role in wanted}
    if config.experts:
        fits[SURE_EXIT] = fitness(outputs, allowed, config.ensemble, config.space, (SURE_EXIT,))[SURE_EXIT.name]
    return fits


def _write(folder: Path, name: str, data: bytes) -> Artifact:
    write_file(folder / _FOLDER / name, data)
    return Artifact(file=f"{_FOLDER}/{name}", sha256=sha256(data), bytes=len(data))
