"""A licence is shown and agreed to before anything is set up, by a person or by an option; else nothing is left."""

from __future__ import annotations

import io

import pytest

from edge_moe.benchmarks import targets
from edge_moe.benchmarks.set_up import Licence
from edge_moe.benchmarks.targets.host import Host
from tests.benchmarks.test_set_up import Core
from tests.cli.conftest import cli  # noqa: F401  (a fixture)
from tests.tiny import tree

WORDS = "these are the vendor's own"


@pytest.fixture
def bound(monkeypatch, tmp_path):
    """The folder of a device's set-up that has a licence."""

    class Bound(Core):
        licence = Licence(WORDS, "notes", "inner/file")

    class Needy(Host):
        kind = "needy"

        def set_up(self):
            return Bound(tmp_path / "cache/needy")

    monkeypatch.setattr(targets, "_registered", {"needy": Needy})
    return Bound(tmp_path / "cache/needy")


def typed(monkeypatch, words):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(words))


def test_without_a_terminal_it_has_to_be_agreed_to_in_the_command(cli, bound, tmp_path):  # noqa: F811
    cli("devices", "setup", "needy").refused(2, WORDS, "in a terminal", "--accept-licence")
    assert tree(tmp_path) == {}
    done = cli("devices", "setup", "needy", "--accept-licence")
    assert done.code == 0, done.err
    assert f"Its text: {bound.folder}/notes/inner/file" in done.out
    assert bound.complete
    assert cli("devices", "setup", "needy").code == 0  # nothing is asked again


def test_a_person_is_asked(cli, bound, monkeypatch, tmp_path):  # noqa: F811
    typed(monkeypatch, "n\n")
    done = cli("devices", "setup", "needy")
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        "edge-moe: error: the licence was not agreed to, so nothing is set up",
    )
    assert tree(tmp_path / "cache") == {}
    typed(monkeypatch, "y\n")
    done = cli("devices", "setup", "needy")
    assert done.code == 0, done.err
    assert done.out.index(WORDS) < done.out.index("Do you agree to it?") < done.out.index("needy is set up")
    assert bound.complete
