"""Routers against one tau: the comparison is of as many experts, and one tau is the exit rule's."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edge_moe import Bundle
from edge_moe.benchmarks.studies import bursts
from edge_moe.evaluate import Outputs, route


@pytest.fixture
def bundle(make_bundle):
    return Bundle(make_bundle(experts=4, classes=5))


@pytest.fixture
def found():
    draw = np.random.default_rng(3)
    shapes = (90, 5), (90, 4), (90, 4, 5)
    return Outputs(*(draw.normal(size=shape).astype(np.float32) * 2 for shape in shapes))


LABELS = np.random.default_rng(4).integers(0, 5, 90)


@pytest.mark.parametrize(("tau", "max_experts"), [(0.0, 1), (0.1, 1), (0.05, 3), (1.0, 1)])
def test_answers_are_the_exit_rule_s(bundle, found, tau, max_experts):
    routed = route(found, tau, max_experts, bundle.manifest.ensemble, bundle.manifest.space)
    right = bursts.right(bundle, found, routed.active, LABELS)
    np.testing.assert_array_equal(right, routed.predictions == LABELS)


def test_every_router_runs_about_as_many_as_asked_and_tau_as_many_as_it(bundle, found):
    base, rows = bursts.compare(bundle, found, LABELS, burst=30)
    assert [row.router for row in rows] == [*bursts.ROUTERS] * len(bursts.SHARES)
    np.testing.assert_array_equal(base, found.base_logits.argmax(axis=1) == LABELS)
    for row in rows:
        most = -(-30 * row.share // 4) * 4 / 30  # what whole slots come to
        assert 0 < row.ran <= most + 1e-9
        assert 1 <= row.opened <= 4
    taus = {row.ran: row.tau_right for row in rows}
    for ran, right in taus.items():
        awake = round(ran * 90)
        alphas = np.sort(_alphas(found).max(axis=1))[::-1]
        tau = float(alphas[awake - 1 : awake + 1].mean())  # between the last that wakes and the first that does not
        routed = route(found, tau, 1, bundle.manifest.ensemble, bundle.manifest.space)
        assert routed.active.sum() == awake
        np.testing.assert_array_equal(right, routed.predictions == LABELS)


def _alphas(found):
    gate = np.exp(found.gate_logits.astype(float))
    phi = np.exp(found.base_logits.astype(float))
    doubt = 1 - (phi / phi.sum(axis=1, keepdims=True)).max(axis=1, keepdims=True)
    return gate / gate.sum(axis=1, keepdims=True) * doubt


def test_of_one_burst_the_pairs_of_alpha_are_one_tau_s_as_long_as_no_image_gets_two(bundle, found):
    _, rows = bursts.compare(bundle, found, LABELS, burst=90)
    row = next(row for row in rows if row.router == "alpha, pairs" and row.share == 0.1)
    np.testing.assert_array_equal(row.right, row.tau_right)


def test_the_command(tiny_bundle, tiny_images, tmp_path, monkeypatch, capsys):
    for _ in range(2):  # computed, then kept
        monkeypatch.setattr(sys, "argv", ["bursts", str(tiny_bundle), str(tiny_images), "-o", str(tmp_path / "o")])
        bursts.main()
    out = capsys.readouterr().out
    assert (tmp_path / "o" / "bursts.md").read_text() in out
    assert out.count("| alpha, pairs |") == 2 * len(bursts.SHARES)
    assert len(list((tmp_path / "o").glob("*.npz"))) == 1
