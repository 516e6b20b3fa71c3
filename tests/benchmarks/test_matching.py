"""Results are taken only for the bundle that they were measured on."""

from __future__ import annotations

import pytest

from edge_moe.benchmarks.matching import match
from edge_moe.bundle import Bundle
from edge_moe.defaults import write_defaults
from edge_moe.digest import answers_digest, digest_of_schema_2
from edge_moe.errors import DataError, UsageError
from edge_moe.sets import Pattern, patterns
from tests.benchmarks.fitted import edited, fitted, replace, save
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
    assert (found.label, found.results, found.measured) == ("fake/int8", results, results.sets[0])
    found = match(Bundle(bundle), file, Pattern((), "fp32"))
    assert (found.label, found.artifacts, found.measured) == (
        "fake/fp32",
        Bundle(bundle).manifest.sets[1],
        results.sets[1],
    )
    assert found.doubts == ()


def test_of_several_the_first_that_was_named_and_measured(bundle, results, tmp_path):
    file = save(results, tmp_path / "results.json")
    assert match(Bundle(bundle), file, *patterns(["fake/fp32", "fake/int8"])).label == "fake/fp32"
    file = save(replace(results, sets=results.sets[:1]), tmp_path / "first.json")
    assert match(Bundle(bundle), file, *patterns(["fake/fp32", "fake/int8"])).label == "fake/int8"
    with pytest.raises(DataError, match="has nothing of fake/fp32; it has fake/int8"):
        match(Bundle(bundle), file, *patterns(["fake/fp32"]))
    file = save(replace(results, sets=results.sets[1:]), tmp_path / "second.json")
    with pytest.raises(DataError, match="has nothing of fake/int8; it has fake/fp32"):  # nobody named another
        match(Bundle(bundle), file)


def test_a_bundle_whose_defaults_changed_is_the_same(bundle, results, tmp_path):
    write_defaults(bundle, Pattern(), 0.7, 3)
    found = match(Bundle(bundle), save(results, tmp_path / "results.json"))
    assert found.bundle.operating(found.artifacts).default_tau == 0.7


def altered(results):
    artifacts = dict(results.sets[0].artifacts)
    artifacts["expert_01"] = replace(artifacts["expert_01"], sha256="0" * 64)
    return edited(results, artifacts=artifacts)


def lacking(results):
    one = results.sets[0]
    kept = {k: v for k, v in one.artifacts.items() if k != "expert_02"}
    return edited(results, artifacts=kept, parts=tuple(part for part in one.parts if part.part in kept))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (altered, ["another bundle", "expert_01 of fake/int8 differ", "edge-moe bench"]),
        (lacking, ["another bundle", "expert_02 of fake/int8 differ"]),
        (
            lambda one: replace(one, bundle=replace(one.bundle, rule_sha256="0" * 64)),
            ["another bundle", "labels, preprocessing"],
        ),
        (lambda one: replace(one, sets=one.sets[1:]), ["nothing of fake/int8", "it has fake/fp32", "--recipe"]),
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


@pytest.fixture
def signed(bundle, results):
    """The same as they are made today."""
    manifest = Bundle(bundle).manifest
    sets = zip(results.sets, manifest.sets, strict=True)
    return replace(results, sets=tuple(replace(one, digest=answers_digest(manifest, s)) for one, s in sets))


def test_results_of_before_the_upgrade_are_of_the_bundle(bundle, results, tmp_path):
    manifest = Bundle(bundle).manifest
    sets = zip(results.sets, manifest.sets, strict=True)
    old = replace(results, sets=tuple(replace(one, digest=digest_of_schema_2(manifest, s)) for one, s in sets))
    assert match(Bundle(bundle), save(old, tmp_path / "results.json")).results == old


def test_results_with_the_bundle_s_digest_are_of_the_bundle(bundle, signed, tmp_path):
    write_defaults(bundle, Pattern(), 0.7, 3)
    assert match(Bundle(bundle), save(signed, tmp_path / "results.json")).results == signed


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change("labels", to=list("abcde")), "labels, preprocessing"),
        (rename, "the digest of fake/int8 is .* here, .* there"),
    ],
)
def test_results_with_another_digest_are_not(make_bundle, signed, tmp_path, edit, words):
    """The second is what rule and artifacts cannot see."""
    other = make_bundle("other", recipes=("int8", "fp32"), edit=edit)
    with pytest.raises(DataError, match=words):
        match(Bundle(other), save(signed, tmp_path / "results.json"))


def test_a_set_that_came_on_top_makes_no_other_bundle(make_bundle, signed, tmp_path):
    other = make_bundle("other", recipes=("int8", "fp32", "int8-all"))
    assert match(Bundle(other), save(signed, tmp_path / "results.json")).label == "fake/int8"


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
