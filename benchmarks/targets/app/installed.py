"""The app as it is installed on a phone."""

from __future__ import annotations

from edge_moe.benchmarks.targets.adb.phone import Phone
from edge_moe.errors import BackendError

__all__ = ["INSTALL", "PACKAGE", "installed"]

PACKAGE = "org.edgemoe.demo"
INSTALL = "adb install -r android_demo/app/target/demo.apk"  # as android_demo/README.md has it built
_PREFIX = "package:"


def installed(phone: Phone) -> str:
    """Return what tells this build of the app from another.

    That is the digests of its files; where these cannot be read, their names, which each installation has anew.

    Raises:
        BackendError: it is not installed; says what to do. Or the phone is gone.
    """
    told = phone.run(f"pm path {PACKAGE}").out.split()
    files = sorted(line.removeprefix(_PREFIX) for line in told if line.startswith(_PREFIX))
    if not files:
        raise BackendError(
            f"{phone.name} cannot be used: the demo app {PACKAGE} is not installed there; build it "
            f"(android_demo/README.md), and run: {INSTALL}"
        )
    hashed = phone.run(f"sha256sum {' '.join(files)}")
    return " ".join(hashed.out.split()[::2] if hashed.code == 0 else files)
