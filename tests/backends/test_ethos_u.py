"""Ethos-U's answers, by a stand-in for the reference model: rounding at the edges, processes, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest

from edge_moe import BackendError, UsageError, backends
from edge_moe.backends import reference_model
from edge_moe.backends.reference_model import missing
from edge_moe.here import unmet
from edge_moe.manifest import RunsOn
from tests import ethos_u_tools

X = np.array([0, 0.25, -0.25, 0.75, 1000, -1000], np.float32).reshape(1, 2, 1, 3)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path))
    ethos_u_tools.write(tmp_path)


@pytest.fixture
def opened(tools):
    made = []

    def make(says="", **how):
        made.append(backends.get("ethos-u").open(ethos_u_tools.artifact(says, **how)))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert reference_model._shared().users == 0


def test_numbers_are_rounded_to_the_nearest_integer_a_half_to_the_even_one_and_cut_at_the_ends(opened):
    part = opened()
    part.invoke(X)
    # By hand: x / 0.5 is 0, 0.5, -0.5, 1.5, 2000, -2000; to even 0, 0, -0, 2; plus 3, and cut to [-128, 127].
    features = (np.array([3, 3, 3, 5, 127, -128]) - 3) * 0.5
    np.testing.assert_array_equal(part.output("features").ravel(), features)
    # Doubled as integers, 6 and 6, which are (6 - 3) * 0.5.
    np.testing.assert_array_equal(part.output("logits"), [[1.5, 1.5]])
    assert {one.dtype for one in (part.output("features"), part.output("logits"))} == {np.dtype(np.float32)}


def test_a_graph_in_float_gets_the_numbers_themselves(opened):
    part = opened(scale=None)
    part.invoke(X / 8)
    np.testing.assert_array_equal(part.output("features"), X / 8)


def test_many_at_once_are_each_by_itself(opened):
    part, several = opened(), [X + shift for shift in range(7)]
    together = part.each(["logits", "features"], several)
    for place, x in enumerate(several):
        part.invoke(x)
        for name in together:
            np.testing.assert_array_equal(together[name][place], part.output(name))


def test_what_the_model_prints_stays_off_the_terminal(opened, capfd):
    opened().invoke(X)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("refuse", "the reference model could not run the part: no such operator"),
        ("wrong", "the reference model could not run the part: TOSA_ERROR; convert it again"),
        ("abort", r"a process of the reference model crashed \(SIGABRT.*last words.*; convert the part again"),
    ],
)
def test_what_goes_wrong_there_is_one_line_and_others_go_on(opened, says, words):
    good, bad = opened(), opened(says)
    good.invoke(X)
    with pytest.raises(BackendError, match=words) as raised:
        bad.invoke(X)
    assert "\n" not in str(raised.value)
    good.invoke(X)


def test_another_shape_and_an_output_that_is_not_there(opened):
    part = opened()
    with pytest.raises(BackendError, match="has no output 'embedding'; it has features, logits"):
        part.output("embedding")
    with pytest.raises(BackendError, match="no output 'logits' yet"):
        part.output("logits")
    with pytest.raises(BackendError, match=r"takes float32 \(1, 2, 1, 3\), not float64 \(1, 2, 1, 3\)"):
        part.invoke(X.astype(np.float64))


def test_a_closed_part(opened):
    part = opened()
    part.close()
    for call in (lambda: part.invoke(X), lambda: part.output("logits"), part.tensors):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_without_the_tools(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path))
    words = "is not set up: run 'edge-moe devices setup ethos-u'"
    for call in (backends.get("ethos-u").version, lambda: backends.get("ethos-u").open(ethos_u_tools.artifact())):
        with pytest.raises(BackendError, match=words):
            call()
    assert words in missing()
    assert words in unmet(RunsOn(npu="ethos-u"))


def test_with_the_tools_an_npu_s_set_can_be_answered_here(tools):
    assert unmet(RunsOn(npu="ethos-u")) is None
    assert unmet(RunsOn(npu="hexagon")) == "it needs the NPU hexagon, which is not here"
    assert backends.missing("ethos-u") is backends.missing("litert") is None
