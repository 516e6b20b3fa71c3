"""Every backend on a phone: what its own Arm library computes there, started from the shell by our runner."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe.benchmarks import targets
from edge_moe.benchmarks.targets.adb import Adb
from edge_moe.benchmarks.targets.host import Host
from edge_moe.bundle import Bundle
from edge_moe.comparing import relative_error
from edge_moe.preprocess import prepare
from edge_moe.progress import Silent
from tests.fixtures import JOB
from tests.phone.conftest import phone  # noqa: F401  (a fixture)

pytestmark = pytest.mark.devices


def test_every_backend_computes_there_what_it_computes_here(bundle, phone, monkeypatch):  # noqa: F811
    targets.get("adb").set_up().install(Silent())
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(phone.port))
    monkeypatch.setattr(Adb, "_contacts", {})
    opened, adb, host = Bundle(bundle), Adb(), Host()
    x = np.concatenate([prepare(one, opened.manifest.preprocessing) for one in sorted((JOB / "images").iterdir())])
    backends = dict.fromkeys(one.backend for one in opened.manifest.sets)
    try:
        for backend in backends:
            artifacts = opened.manifest.find(backend, "fp32")
            expected = host.outputs(opened, artifacts, "base", x)
            given = {"base": x, "expert_00": expected["features"]}
            for part, inputs in given.items():
                found = adb.outputs(opened, artifacts, part, inputs)
                for name, values in host.outputs(opened, artifacts, part, inputs).items():
                    assert relative_error(found[name], values) < 1e-4, (backend, part, name)
    finally:
        adb.close()
    assert list(backends) and not list(phone.tmp.iterdir())
