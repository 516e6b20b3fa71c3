"""Asking a ranker about the sets of a backend that meet the bars: what runs how often, on what, and what follows.

Shares are those of fp32 for every set: what a recipe changes in the routing is judged elsewhere, and not a saving.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edge_moe import backends
from edge_moe.bundle import expert_name
from edge_moe.converters.interface import Floats
from edge_moe.converters.judge import Judge, Verdict
from edge_moe.converters.make import Maker
from edge_moe.converters.ranking import Candidates, Ranker, ranked, why
from edge_moe.converters.report import Ranked
from edge_moe.evaluate import route
from edge_moe.sets import FLOAT, SetKey
from edge_moe.training.checkpoint import Checkpoint

__all__ = ["Pricing", "shares"]

_IMAGES = 20  # of the validation images, to run parts on


@dataclass(frozen=True)
class Pricing:
    """Ranks the sets of one conversion."""

    maker: Maker
    judge: Judge
    ranker: Ranker

    def rank(self, backend: str, committed: Sequence[SetKey]) -> tuple[list[SetKey], Ranked]:
        """Return the candidates of a backend that were judged, the best first, and what that was decided by.

        Args:
            backend: whose fp32 was judged.
            committed: its candidates, in the order that holds where nothing is surely cheaper.

        Raises:
            BackendError: an artifact failed.
        """
        judged = [key for key in committed if key in self.judge.missed]
        fit = [key for key in judged if not self.judge.missed[key]]
        costs, unit, used = {}, "", dict[str, float]()
        order, reason = fit, f"the committed order holds for {self.ranker.row}: nothing was measured"
        if len(fit) > 1 and self.ranker.measures:
            verdict = self.judge.verdicts[SetKey(backend, FLOAT)]
            used = shares(verdict, self.judge.loaded, self.judge.options.max_experts)
            found = self.ranker.costs(self._candidates(backend, fit, used), self.judge.progress)
            costs, unit = dict(found.of), found.unit
            order = ranked(fit, costs)
            reason = why(order, fit, costs, self.ranker.where)
        elif len(fit) == 1 and len(judged) > 1:
            reason = f"{fit[0]} is the only one of them that meets the bars"
        elif not fit:
            reason = "none of them meets the bars"
        return order + [key for key in judged if key not in order], Ranked(
            row=self.ranker.row,
            where=self.ranker.where,
            unit=unit,
            costs={str(key): (*costs[key],) for key in order if key in costs},
            shares=used,
            why=reason,
        )

    def _candidates(self, backend: str, keys: Sequence[SetKey], used: Mapping[str, float]) -> Candidates:
        files = {key: {part: file for part, file in self.maker.files(key).items() if part in used} for key in keys}
        base = self.maker.files(SetKey(backend, FLOAT))["base"]
        return Candidates(
            files=files,
            specs={part: spec for part, spec in self.judge.specs.items() if part in used},
            inputs=self._inputs(backend, base, used),
            shares=used,
        )

    def _inputs(self, backend: str, base: Path, used: Mapping[str, float]) -> dict[str, Floats]:
        """Return what each part is run on, [N, ...]: images, and what the fp32 base of the backend makes of them."""
        images = list(islice(self.judge.tensors, _IMAGES))
        found = {"base": np.concatenate(images)}
        reads = {part: "embedding" if part == "gate" else "features" for part in used if part != "base"}
        opened = backends.get(backend).open(base.read_bytes())
        try:
            rows: dict[str, list[Floats]] = {part: [] for part in reads}
            for image in images if reads else ():
                opened.invoke(image)
                for part, output in reads.items():
                    rows[part].append(opened.output(output).copy())
        finally:
            opened.close()
        return found | {part: np.concatenate(given) for part, given in rows.items()}


def shares(verdict: Verdict, loaded: Checkpoint, max_experts: int) -> dict[str, float]:
    """Return part -> how often it runs for an image at the default tau of `verdict`; parts that never run are left out.

    The most used expert stands for all. Of an untrained network, of which nothing is known, the gate and one expert
    run for every image.
    """
    config = loaded.config
    if not config.experts:
        return {"base": 1.0}
    if config.origin == "untrained":
        return {"base": 1.0, "gate": 1.0, expert_name(0): 1.0}
    routed = route(verdict.outputs, verdict.default_tau, max_experts, config.ensemble, config.space)
    experts = routed.expert_shares
    found = {"base": 1.0, "gate": routed.gate_share, expert_name(int(np.argmax(experts))): sum(experts)}
    return {part: share for part, share in found.items() if share}
