"""What is set on a phone while it is measured: fixed performance mode, where it has it."""

from __future__ import annotations

from edge_moe.benchmarks.targets.adb.contact import Contact
from edge_moe.benchmarks.targets.adb.phone import Phone

__all__ = ["hold_speed"]

# Android 11 and later. It cannot be asked whether it is on; a phone has it off unless somebody has switched it on.
_MODE = "cmd power set-fixed-performance-mode-enabled"


def hold_speed(phone: Phone, contact: Contact) -> tuple[str, list[str]]:
    """Switch on fixed performance mode until the contact ends; return whether it is, and remarks if not.

    Raises:
        BackendError: the phone is gone.
    """
    contact.put_back(f"{_MODE} false")
    done = phone.run(f"{_MODE} true")
    if done.code == 0 and not done.errors.strip():
        return "on", []
    return "off", [f"the phone was not held at one speed: fixed performance mode cannot be switched on ({done.last})"]
