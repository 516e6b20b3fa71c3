"""Results are taken only for the bundle that they were measured on."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks.decide.matching import match
from edge_moe.bundle import Bundle
from edge_moe.defaults import write_defaults
from edge_moe.errors import DataError, UsageError
from edge_moe.sets import Pattern, patterns
from tests.benchmarks.fitted import edited, fitted, only, replace, save
from tests.test_bundle import change
from tests.test_digest import rename


@pytest.fixture
def bundle(make_bundle):
    return make_bundle(recipes=("int8", "fp32"))


@pytest.fixture
def results(bundle):
    return fitted(bundle, images=8, timed=4)


def test_the_set_that_is_asked_for(bundle, results, tmp_path):
    file = save(results, tmp_path / "results.json")
    found = match(Bundle(bundle), file)
    assert (found.label, found.results, found.measured.recorded) == ("fake/int8", results, results.recorded[0])
    found = match(Bundle(bundle), file, Pattern((), "fp32"))
    assert (found.label, found.artifacts, found.measured.recorded) == (
        "fake/fp32",
        Bundle(bundle).manifest.sets[1],
        results.recorded[1],
    )
    assert found.doubts == ()


def test_of_several_the_first_that_was_named_and_measured(bundle, results, tmp_path):
    file = save(results, tmp_path / "results.json")
    assert match(Bundle(bundle), file, *patterns(["fake/fp32", "fake/int8"])).label == "fake/fp32"
    file = save(only(results, 0), tmp_path / "first.json")
    assert match(Bundle(bundle), file, *patterns(["fake/fp32", "fake/int8"])).label == "fake/int8"
    with pytest.raises(DataError, match="has nothing of fake/fp32; it has fake/int8"):
        match(Bundle(bundle), file, *patterns(["fake/fp32"]))
    file = save(only(results, 1), tmp_path / "second.json")
    with pytest.raises(DataError, match="has nothing of fake/int8; it has fake/fp32"):  # nobody named another
        match(Bundle(bundle), file)


def test_a_bundle_whose_defaults_changed_is_the_same(bundle, results, tmp_path):
    write_defaults(bundle, Pattern(), 0.7, 3)
    found = match(Bundle(bundle), save(results, tmp_path / "results.json"))
    assert found.bundle.operating(found.artifacts).default_tau == 0.7


def altered(results):
    artifacts = dict(results.sets[0].artifacts)
    artifacts["expert_01"] = replace(artifacts["expert_01"], sha256="0" * 64)
    return edited(results, artifacts=artifacts, digest="0" * 64)


def lacking(results):
    def kept(found):
        return {part: one for part, one in found.items() if part != "expert_02"}

    first, *others = results.recorded
    first = replace(first, artifacts=kept(first.artifacts), macs=kept(first.macs), digest="0" * 64)
    lines = tuple(
        replace(
            line,
            sets=(
                replace(line.sets[0], parts=kept(line.sets[0].parts), waking=kept(line.sets[0].waking), points=()),
                *line.sets[1:],
            ),
        )
        for line in results.lines
    )
    return replace(results, recorded=(first, *others), lines=lines)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (altered, ["another bundle", "expert_01 of fake/int8 differ", "edge-moe bench"]),
        (lacking, ["another bundle", "expert_02 of fake/int8 differ"]),
        (
            lambda one: edited(replace(one, bundle=replace(one.bundle, rule_sha256="0" * 64)), digest="0" * 64),
            ["another bundle", "labels, preprocessing"],
        ),
        (lambda one: only(one, 1), ["nothing of fake/int8", "it has fake/fp32", "--recipe"]),
    ],
    ids=["artifact", "missing part", "rule", "set"],
)
def test_results_of_something_else(bundle, results, tmp_path, spoil, words):
    with pytest.raises(DataError) as caught:
        match(Bundle(bundle), save(spoil(results), tmp_path / "results.json"))
    assert all(word in str(caught.value) for word in (*words, str(tmp_path / "results.json")))


def test_labels_are_part_of_the_rule(make_bundle, results, tmp_path):
    other = make_bundle("other", recipes=("int8", "fp32"), edit=lambda raw: raw.update(labels=raw["labels"][::-1]))
    with pytest.raises(DataError, match="labels, preprocessing"):
        match(Bundle(other), save(results, tmp_path / "results.json"))


# --- by the digest ---


def test_results_with_the_bundle_s_digest_are_of_the_bundle(bundle, results, tmp_path):
    write_defaults(bundle, Pattern(), 0.7, 3)
    assert match(Bundle(bundle), save(results, tmp_path / "results.json")).results == results


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change("labels", to=list("abcde")), "labels, preprocessing"),
        (rename, "the digest of fake/int8 is .* here, .* there"),
    ],
)
def test_results_with_another_digest_are_not(make_bundle, results, tmp_path, edit, words):
    """The second is what rule and artifacts cannot see."""
    other = make_bundle("other", recipes=("int8", "fp32"), edit=edit)
    with pytest.raises(DataError, match=words):
        match(Bundle(other), save(results, tmp_path / "results.json"))


def test_a_set_that_came_on_top_makes_no_other_bundle(make_bundle, results, tmp_path):
    other = make_bundle("other", recipes=("int8", "fp32", "int8-all"))
    assert match(Bundle(other), save(results, tmp_path / "results.json")).label == "fake/int8"


def test_a_set_that_the_bundle_lacks(bundle, results, tmp_path):
    with pytest.raises(UsageError, match="it has fake/int8, fake/fp32"):
        match(Bundle(bundle), save(results, tmp_path / "results.json"), Pattern(("litert",)))


def test_doubts(make_bundle, tmp_path):
    bundle = make_bundle(edit=lambda raw: raw.update(trained=False))
    results = fitted(bundle, images=8, timed=4, rounds=2, rounds_asked=5, remarks=("others took 40% of the CPU",))
    file = save(results, tmp_path / "results.json")
    doubts = match(Bundle(bundle), file).doubts
    words = ("after 2 rounds", "UNTRAINED", "40%")
    assert all(word in doubt for word, doubt in zip(words, doubts, strict=True))
    assert all(line.startswith(f"{file}: ") for line in doubts)
