"""Powers of noise and signal, and what they are in decibels."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["EIGHT_BITS_DB", "NO_NOISE_DB", "Doubles", "db", "decibels", "ratio", "sqnr_db"]

Doubles: TypeAlias = npt.NDArray[np.float64]

NO_NOISE_DB = 200.0  # stands for infinity, which JSON lacks
# What 8 bits leave at their best: the rounding of a signal that fills 256 steps evenly has the power step^2 / 12, the
# signal (256 step)^2 / 12. Noise below that is what int8 costs anywhere; it is nobody's fault.
EIGHT_BITS_DB = float(20 * np.log10(256))  # 48.2


def ratio(noise: float, signal: float) -> float:
    """Return the noise-to-signal ratio of two powers."""
    if noise == 0:
        return 0.0
    return noise / signal if signal > 0 else float("inf")


def decibels(noise_to_signal: float) -> float:
    """Return the signal-to-noise ratio in dB, within +-NO_NOISE_DB."""
    if noise_to_signal == 0:
        return NO_NOISE_DB
    return float(np.clip(-10 * np.log10(noise_to_signal), -NO_NOISE_DB, NO_NOISE_DB))


def sqnr_db(noise: Doubles, signal: Doubles) -> float:
    """Return 10 log10(|signal|^2 / |noise|^2), over all entries; what is no number is infinite noise."""
    power = float((noise**2).sum())
    return decibels(ratio(power if np.isfinite(power) else float("inf"), float((signal**2).sum())))


def db(value: float, unit: str = "") -> str:
    """Return a signal-to-noise ratio in dB for a person: "30.9", with `unit` behind it; in words where it is none."""
    if abs(value) < NO_NOISE_DB:
        return f"{value:.1f}{unit}"
    return "no noise" if value > 0 else "no signal"
