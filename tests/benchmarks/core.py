"""Measurements of a moment: a target that knows parts and cycles and nothing else, and options with few images."""

from __future__ import annotations

from edge_moe.benchmarks.target import Availability, Session, Target
from edge_moe.benchmarks.units import UNITS
from edge_moe.benchmarks.wire import Limit, Machine, Opening, Peer, Round, SetRound

FAST = {"rounds": 2, "cold_starts": 0, "timed_images": 6}
COSTS = {"base": 1000.0, "gate": 10.0, "expert_00": 300.0, "expert_01": 500.0, "expert_02": 700.0}


class Core(Target):
    """A core that is simulated: it costs parts in cycles and knows nothing else."""

    kind = "core"

    def __init__(self):
        super().__init__()
        self.asked, self.stop_in, self.closed, self.with_peers = [], None, 0, False

    def available(self):
        return [Availability("core", True, "1.0")]

    def open(self, job, progress):
        return CoreSession(self, job)


class CoreSession(Session):
    def __init__(self, core, job):
        self.core, self.job = core, job
        more = {}
        if core.with_peers:
            told = {"backend": "fake", "recipe": "x", "about": "", "tau": None}
            more["peers"] = (Peer(name="a", missing=None, **told), Peer(name="b", missing="not here", **told))
            more["limits"] = (Limit(dtype="int8", library="x", shape=(2, 3, 4)),)
        self.opening = Opening(
            schema_version=3,
            target="core",
            units=(UNITS["cycles"],),
            machine=Machine(name="core", processor="RTL"),
            versions={},
            **more,
        )

    def rounds(self, first, progress, step):
        for number in range(first, self.job.plan.rounds):
            if number == self.core.stop_in:
                raise KeyboardInterrupt
            self.core.asked.append(number)
            progress.advance(step)
            yield Round(
                sets=tuple(
                    SetRound(parts={name: {"cycles": (cost + number, cost)} for name, cost in COSTS.items()})
                    for _ in self.job.sets
                ),
                peers=({"cycles": (float(number),) * self.job.plan.timed}, None)[: len(self.opening.peers)],
                limits_ms=((2.0 + number,),)[: len(self.opening.limits)],
            )

    def __exit__(self, *_):
        self.core.closed += 1
