"""What the opening of a measurement on a phone says of the phone, whoever measures there."""

from __future__ import annotations

from edge_moe.benchmarks.targets.adb.state import Identity, State
from edge_moe.benchmarks.wire import Facts, Machine
from edge_moe.processor import described

__all__ = ["before", "facts", "machine", "remarks"]


def machine(identity: Identity, now: State, cpus: tuple[int, ...], held: str) -> Machine:
    """Return what two sittings have to have in common.

    Args:
        identity: what the phone is.
        now: how it is.
        cpus: that are measured on.
        held: whether fixed performance mode is on.
    """
    kept: Facts = {
        "SoC": identity.soc,
        "build": identity.get("ro.build.fingerprint"),
        "Linux": identity.kernel,
        "fixed performance mode": held,
        "governor": ", ".join(dict.fromkeys(now.cpus[one].governor for one in cpus if one in now.cpus)),
    }
    return Machine(
        name=identity.model,
        system=f"Android {identity.get('ro.build.version.release')}",
        processor=described(identity.cpuinfo, identity.soc).title,
        logical_cpus=len(now.cpus) or None,
        memory_bytes=identity.memory_bytes,
        facts=_known(kept),
    )


def facts(now: State, cpus: tuple[int, ...], more: Facts) -> Facts:
    """Return what may differ; `more`: what else is known."""
    found: Facts = {
        "screen": now.wakefulness,
        "powered": now.powered,
        **more,
        **before(now, cpus),
    }
    return _known(found)


def before(now: State, cpus: tuple[int, ...]) -> Facts:
    """Return how the phone is, said of what follows."""
    return {f"{name}, before": fact for name, fact in now.facts(cpus).items()}


def remarks(now: State) -> list[str]:
    """Return why figures of this phone are doubtful."""
    found = []
    if now.thermal is None:
        found.append("this Android tells no thermal status (10 and later do): whether heat held it back is not known")
    if not now.cpus:
        found.append("this phone does not tell of its cores: it was measured on the first, which may be a small one")
    return found


def _known(told: Facts) -> Facts:
    return {name: fact for name, fact in told.items() if fact not in (None, "")}
