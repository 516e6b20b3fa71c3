"""How often an NPU's set answers otherwise than the set that runs on a processor, on the same images.

An app that has both must not tell its user two things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_moe import backends
from edge_moe.checkpoint import CheckpointConfig
from edge_moe.converters.judge import Verdict
from edge_moe.converters.report import Flips
from edge_moe.evaluate import route
from edge_moe.sets import SetKey

__all__ = ["found"]


def found(
    shipped: Sequence[SetKey], verdicts: Mapping[SetKey, Verdict], config: CheckpointConfig, max_experts: int
) -> list[Flips]:
    """Compare every NPU's set that is `shipped` with the first one of a processor, each at its own default tau.

    Where none of these is shipped, it is compared with its own reference in fp32.
    """
    hosts = [key for key in shipped if backends.record(key.backend).npu is None]
    return [
        _compared(key, hosts[0] if hosts else key.reference, verdicts, config, max_experts)
        for key in shipped
        if backends.record(key.backend).npu is not None
    ]


def _compared(
    key: SetKey, other: SetKey, verdicts: Mapping[SetKey, Verdict], config: CheckpointConfig, max_experts: int
) -> Flips:
    answers = []
    for one in (key, other):
        verdict = verdicts[one]
        routed = route(verdict.outputs, verdict.default_tau, max_experts, config.ensemble, config.space)
        answers.append(routed.predictions)
    return Flips(set=str(key), other=str(other), share=float((answers[0] != answers[1]).mean()), images=len(answers[0]))
