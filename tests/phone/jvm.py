"""The command that runs :core of the Android demo on a JVM, compiled by its own build."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from edge_moe.backends.onnx_session import saturates

_DEMO = Path(__file__).parents[2] / "android_demo"


def compiled() -> None:
    """Compile :core and its tests."""
    command = [str(_DEMO / "mvn.sh"), "--batch-mode", "--projects", "core", "process-test-classes"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-8000:]


def program(verb: str, **properties: object) -> list[str]:
    """Return the command of what was compiled; `verb`: of its Main.kt, `properties`: that this knows."""
    target = _DEMO / "core/target"
    parts = [str(target / "classes"), str(target / "test-classes"), (target / "classpath").read_text().strip()]
    # Where kernels saturate, which is known from Python alone, weights are taken as unsigned.
    given = {"unsigned": str(saturates()).lower(), **properties}
    told = [f"-Dedgemoe.{name}={value}" for name, value in given.items()]
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"]  # to begin, not to compute
    return ["java", *quick, *told, "-cp", os.pathsep.join(parts), "edgemoe.jvm.MainKt", verb]
