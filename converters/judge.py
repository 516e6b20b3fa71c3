"""Judging sets: what their artifacts answer, how closely that follows fp32, where tau should stand, what is missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from edge_moe.bundle import OperatingPoint, PartSpec
from edge_moe.converters import bars, measure, parity
from edge_moe.converters.options import ConversionOptions
from edge_moe.converters.report import Missed, PartParity, Routing
from edge_moe.converters.toolchain import Structure
from edge_moe.data import LabelledImages
from edge_moe.evaluate import Outputs
from edge_moe.progress import Progress
from edge_moe.sets import SetKey
from edge_moe.tensors import Tensors
from edge_moe.training.checkpoint import Checkpoint

__all__ = ["Judge", "Verdict"]

_TORCH_IMAGES = 32
_COMPARED_TAU = 0.25  # beside the default, which may be so large that hardly an expert runs


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of one set."""

    outputs: Outputs
    parts: list[PartParity]
    points: tuple[OperatingPoint, ...]  # empty for a network that learned nothing
    default_tau: float
    routed: list[Routing]  # at tau 0, in between, and at the default; empty for a reference
    missed: list[Missed]


@dataclass(kw_only=True)
class Judge:
    """Runs artifacts over the validation images; each set once."""

    loaded: Checkpoint
    validation: LabelledImages
    tensors: Tensors  # of the validation images
    specs: dict[str, PartSpec]
    options: ConversionOptions
    progress: Progress
    verdicts: dict[SetKey, Verdict] = field(default_factory=dict)

    @property
    def missed(self) -> dict[SetKey, list[Missed]]:
        """Set -> the bars that it misses."""
        return {key: verdict.missed for key, verdict in self.verdicts.items()}

    def judge(self, key: SetKey, files: Mapping[str, Path], structures: Mapping[Path, Structure | None]) -> None:
        """Judge a set; its fp32 was judged before.

        Args:
            key: which set.
            files: part -> artifact.
            structures: how each artifact is split.

        Raises:
            ConversionError: the backend refuses an artifact, or fails on an image.
        """
        outputs = measure.run_artifacts(key, files, self.tensors, self.progress)
        self.verdicts[key] = self._verdict(key, files, outputs, structures)

    def in_order(self, keys: Iterable[SetKey]) -> dict[SetKey, Verdict]:
        """Return the verdicts on those of `keys` that were judged."""
        return {key: self.verdicts[key] for key in keys if key in self.verdicts}

    def _verdict(
        self,
        key: SetKey,
        files: Mapping[str, Path],
        outputs: Outputs,
        structures: Mapping[Path, Structure | None],
    ) -> Verdict:
        config, options = self.loaded.config, self.options
        reference = outputs if key.is_float else self.verdicts[key.reference].outputs
        errors = measure.torch_errors(self.loaded, outputs, self._first) if key.is_float else {}
        parts = [
            PartParity(
                part=part,
                bytes=files[part].stat().st_size,
                structure=structures[files[part]],
                images=over,
                against_fp32=compared,
                torch_error=errors.get(part),
            )
            for part, (compared, over) in parity.part_parity(outputs, reference).items()
        ]
        points = measure.operating_points(outputs, self.validation, self.specs, self.loaded, options.max_experts)
        tau = measure.default_tau(points, options.max_experts, options.tau)
        routed = [
            parity.routed_agreement(outputs, reference, at, options.max_experts, config.ensemble, config.space)
            for at in sorted({0.0, tau, *((_COMPARED_TAU,) if options.tau is None else ())})
            if not key.is_float and config.experts
        ]
        return Verdict(
            outputs=outputs,
            parts=parts,
            points=points,
            default_tau=tau,
            routed=routed,
            missed=bars.missed_bars(key, parts, routed, config.origin != "untrained", options),
        )

    @cached_property
    def _first(self) -> list[measure.Image]:
        return list(islice(self.tensors, _TORCH_IMAGES))
