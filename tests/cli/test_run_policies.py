"""edge-moe run on many images: in another order, within a budget, with a bar."""

from __future__ import annotations

import json
import re

import pytest


@pytest.mark.parametrize("policy", ["grouped", "budget"])
def test_a_policy_changes_the_order_and_not_the_list(cli, tiny_bundle, tiny_images, policy):
    images = sorted(tiny_images.glob("val/*/*.png"))[::4]
    one_by_one = json.loads(cli("run", tiny_bundle, *images, "--tau", 0, "--json").out)
    more = ("--budget-macs", 1e12) if policy == "budget" else ()
    done = cli("run", tiny_bundle, *images, "--tau", 0, "--policy", policy, *more, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    for row in (*found, *one_by_one):
        assert row.pop("milliseconds") > 0
    if policy == "grouped":
        assert found == one_by_one
    assert [row["image"] for row in found] == [str(one) for one in images]
    assert all(row["experts"] for row in found)


def test_more_than_a_few_images_show_a_bar(cli, tiny_bundle, tiny_images):
    done = cli("run", tiny_bundle, tiny_images / "val", "--policy", "grouped", "--tau", 0)
    assert done.code == 0
    assert re.search(r"^bases (\d+)/\1", done.err, re.MULTILINE)
    assert re.search(r"^experts (\d+)/\1", done.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--policy", "fastest"], ["policy is 'fastest'", "arrival, grouped, budget"]),
        (["--policy", "budget"], ["budget_macs and the policy 'budget' belong together"]),
        (["--budget-macs", 1e9], ["budget_macs and the policy 'budget' belong together"]),
        (["--policy", "budget", "--budget-macs", 12], ["budget_macs is 12", "base and gate alone take", "for 1 image"]),
    ],
)
def test_policies_that_cannot_be(cli, tiny_bundle, tiny_images, more, words):
    image = next(tiny_images.glob("val/*/*.png"))
    cli("run", tiny_bundle, image, *more).refused(2, *words)
