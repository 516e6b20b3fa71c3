"""What Vela says of every part of a job, in each memory mode: estimates, and the same in every round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.target import Session
from edge_moe.benchmarks.targets.ethos_u.configs import Config, Mode
from edge_moe.benchmarks.targets.ethos_u.vela import VERSION, Estimate
from edge_moe.benchmarks.units import Unit
from edge_moe.benchmarks.wire import (
    SCHEMA_VERSION,
    Compiled,
    Costs,
    Detail,
    Machine,
    Opening,
    Provenance,
    Round,
    SetRound,
)
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["Estimates", "EthosUSession", "costs", "units"]

Estimates = Mapping[str, Mapping[str, Estimate]]  # part -> memory mode -> what Vela says


class EthosUSession(Session):
    """See the module."""

    def __init__(
        self, job: Job, name: str, config: Config, modes: Sequence[Mode], found: Mapping[SetKey, Estimates]
    ) -> None:
        """Answer `job` with what was `found` for each of its sets in each of `modes`; `name`: of the target."""
        self._job, self._modes, self._found = job, modes, found
        clock = _clock(found)
        own = units(modes, clock)
        estimated: Provenance = "estimated"
        first = modes[0].name
        self.opening = Opening(
            schema_version=SCHEMA_VERSION,
            target=name,
            units=own,
            machine=Machine(
                name=f"Arm Ethos-{config.npu.upper()}",
                facts={
                    "system configuration": config.system,
                    "clock MHz": clock,
                    **{f"memory mode, weights in {one.weights}": one.name for one in modes},
                    **({} if config.sram_kib is None else {"SRAM KiB": config.sram_kib}),
                },
            ),
            versions={str(one.key): VERSION for one in job.sets},
            provenance={unit.name: estimated for unit in own},
            how=f"by Vela for {config.system}",
            compiled={
                str(key): {
                    part: Compiled(
                        file=f"{part}_vela.npz",
                        bytes=one[first].bytes,
                        sha256=one[first].sha256,
                        tool="Vela",
                        version=VERSION.rpartition(" ")[2],
                    )
                    for part, one in parts.items()
                }
                for key, parts in found.items()
            },
            details={
                str(key): {
                    part: tuple(Detail(way=mode, facts={**two.facts}, layers=two.layers) for mode, two in one.items())
                    for part, one in parts.items()
                }
                for key, parts in found.items()
            },
            remarks=tuple(_missing(config, modes)),
            facts={
                "not in a cost": "waking the NPU, the exit rule, rounding at inputs and outputs, preparing the image",
                "answers": "by the reference model of TOSA, on the host",
            },
        )

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def rounds(self, first: int, progress: Progress, step: str) -> Iterator[Round]:
        """Tell the estimates; all rounds are alike."""
        line = Round(
            sets=tuple(
                SetRound(parts={part: costs(one, self._modes) for part, one in self._found[artifacts.key].items()})
                for artifacts in self._job.sets
            )
        )
        for _ in range(first, self._job.plan.rounds):
            progress.advance(step)
            yield line


def units(modes: Sequence[Mode], clock_mhz: int) -> tuple[Unit, ...]:
    """Return what costs are counted in: cycles and milliseconds of each mode, those of the first by the plain names."""
    found = []
    for place, mode in enumerate(modes):
        where = f"{mode.name}, weights in {mode.weights}"
        mark = f"_weights_in_{mode.weights.lower()}" if place else ""
        aside = f", weights in {mode.weights}" if place else ""
        found += [
            Unit(
                name=f"cycles{mark}",
                words=f"cycles ({where})",
                symbol=f"M cycles{aside}",
                per=1e6,
                deterministic=True,
            ),
            Unit(
                name=f"ms{mark}",
                words=f"milliseconds at {clock_mhz} MHz ({where})",
                symbol=f"ms{aside}",
                deterministic=True,
                seconds=1e-3,
            ),
        ]
    return tuple(found)


def costs(found: Mapping[str, Estimate], modes: Sequence[Mode]) -> Costs:
    """Return a part's costs in the units of `units`."""
    numbers = [number for mode in modes for number in (found[mode.name].cycles, found[mode.name].ms)]
    names = [unit.name for unit in units(modes, 0)]
    return {name: (number,) for name, number in zip(names, numbers, strict=True)}


def _clock(found: Mapping[SetKey, Estimates]) -> int:
    return next(two.facts["clock MHz"] for parts in found.values() for one in parts.values() for two in one.values())


def _missing(config: Config, modes: Sequence[Mode]) -> Iterator[str]:
    """Say which memory mode is not told of, and why."""
    for mode in config.modes:
        if mode not in modes:
            way = f"{mode.name} (weights in {mode.weights})"
            yield f"{way} is left out: {config.sram_kib} KiB of SRAM do not hold all parts"
