"""Under which key each artifact of a conversion lies: the digest of what it is made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from edge_moe.bundle import part_names, sha256
from edge_moe.converters import toolchain
from edge_moe.converters.interface import Floats, Kind, kind_of
from edge_moe.converters.recipe import Recipe
from edge_moe.converters.same_network import fixed_image, fixed_outputs
from edge_moe.converters.store import StoredPart, artifact_key
from edge_moe.nn.custom import code_digest
from edge_moe.sets import FLOAT, SetKey
from edge_moe.training.checkpoint import Checkpoint

__all__ = ["Keys"]


@dataclass(kw_only=True)
class Keys:
    """Those of one conversion."""

    checkpoint: Path
    loaded: Checkpoint
    recipes: Mapping[SetKey, Recipe]
    images: Sequence[Floats]  # to calibrate on, each [1, H, W, 3]

    @cached_property
    def parts(self) -> list[str]:
        """The names of the parts."""
        return part_names(self.loaded.config.experts)

    @cached_property
    def weights(self) -> dict[str, str]:
        """StoredPart -> digest of its weights and of its code, as far as the file of the builder has that."""
        code = code_digest(self.loaded.config.architecture.base)
        return {
            part: sha256(code.encode() + (self.checkpoint / f"{part}.safetensors").read_bytes()) for part in self.parts
        }

    @cached_property
    def made_from(self) -> dict[SetKey, dict[str, str]]:
        """Set -> part -> the key of its artifact."""
        # Gate and experts are calibrated on what the base makes of the images.
        plain = not self.loaded.config.experts
        inputs = sha256(self.weights["base"].encode() + np.concatenate(self.images).tobytes())
        return {
            key: {
                part: artifact_key(
                    toolchain.get(key.backend),
                    recipe,
                    kind_of(part, plain=plain),
                    self.weights[part],
                    inputs,
                    len(self.images),
                )
                for part in self.parts
            }
            for key, recipe in self.recipes.items()
        }

    def graph(self, backend: str, kind: Kind) -> str:
        """Return the key of the traced graph: of this code and these tools, as the base is."""
        return f"{self.made_from[SetKey(backend, FLOAT)]['base']}-{kind}"

    def besides(self, shipped: Collection[str]) -> set[str]:
        """Return the keys of the artifacts of all sets but those labelled `shipped`, and of the fixed outputs."""
        made = {made for key, parts in self.made_from.items() if str(key) not in shipped for made in parts.values()}
        return made | set(self.weights.values())

    @cached_property
    def outputs(self) -> dict[str, dict[str, Floats]]:
        """StoredPart -> output -> what torch makes of the fixed input, see same_network."""
        return fixed_outputs(self.loaded.mixture, fixed_image(*self.images[0].shape[1:3]))

    @property
    def known(self) -> list[StoredPart]:
        """What the store has to know of every part."""
        used = dict.fromkeys(key.backend for key in self.recipes)
        plain = not self.loaded.config.experts
        return [
            StoredPart(
                part,
                self.weights[part],
                keys=tuple(parts[part] for parts in self.made_from.values()),
                graphs=tuple(self.graph(backend, kind_of(part, plain=plain)) for backend in used),
                outputs=self.outputs[part],
            )
            for part in self.parts
        ]
