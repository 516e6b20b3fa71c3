"""The target before it measures: which app it is, and why it cannot be used."""

from __future__ import annotations

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.targets.adb import on_phone
from edge_moe.benchmarks.targets.adb.phone import Done
from edge_moe.benchmarks.targets.adb.state import Identity
from edge_moe.benchmarks.targets.app import App
from edge_moe.benchmarks.targets.app.installed import installed
from edge_moe.bundle import Bundle
from edge_moe.errors import MissingExtraError, UsageError
from tests.fixtures import JOB


class Telling:
    """A phone whose commands, by their first word, come to this."""

    name = "app"

    def __init__(self, **answers):
        self.answers = answers

    def run(self, command):
        return self.answers[command.split()[0]]

    def close(self):
        pass


PATHS = Done(0, "package:/data/app/b/split_arm64.apk\npackage:/data/app/b/base.apk\n", "")


def test_an_app_is_known_by_what_is_in_its_files():
    sums = Done(0, "aa  /data/app/b/base.apk\nbb  /data/app/b/split_arm64.apk\n", "")
    assert installed(Telling(pm=PATHS, sha256sum=sums)) == "aa bb"
    denied = Done(1, "", "sha256sum: /data/app/b/base.apk: Permission denied\n")
    assert installed(Telling(pm=PATHS, sha256sum=denied)) == "/data/app/b/base.apk /data/app/b/split_arm64.apk"


def test_no_app_is_installed():
    with pytest.raises(BackendError, match=r"app cannot be used: .* is not installed there; build it .* adb install"):
        installed(Telling(pm=Done(1, "", "")))


def test_what_it_runs_and_hands_out(monkeypatch):
    app, bundle = App(), Bundle(JOB / "bundle")
    given = {
        "serial": "X",
        "phone": Telling(pm=PATHS, sha256sum=Done(0, "aa  x\n", "")),
        "identity": Identity({"ro.build.fingerprint": "f"}, "Features : asimddp", None, "6"),
    }
    app.__dict__.update(given)
    app.check(bundle.manifest.sets, 2)
    assert app.sustains and not app.hands_out and not app.ranks
    assert app.fingerprint()[1] == "aa" and "X" not in app.fingerprint()[0]
    with pytest.raises(UsageError, match="app does not hand out what parts compute"):
        app.backend(bundle, "litert")
    with pytest.raises(UsageError, match="app cannot rank recipes"):
        app.price({}, {}, {}, 1, None)


def test_without_adbutils(monkeypatch):
    monkeypatch.setattr("edge_moe.benchmarks.targets.app.has_adb", lambda: False)
    monkeypatch.setattr(on_phone, "has_adb", lambda: False)
    (one,) = App().available()
    assert (one.what, one.usable, one.detail) == ("app:SERIAL", False, "run: pip install 'edge-moe[adb]'")
    with pytest.raises(MissingExtraError, match="adb"):
        App("X").check((), 1)


def test_nobody_is_asked_where_no_phone_is_named(monkeypatch):
    (one,) = App().available()
    assert (one.what, one.usable) == ("app:SERIAL", True)
