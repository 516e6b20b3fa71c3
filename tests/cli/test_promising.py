"""edge-moe choose --promise and edge-moe recalibrate: what they say, what they write, and what they refuse."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from edge_moe import Runtime
from edge_moe.bundle import Bundle
from edge_moe.sets import SetKey
from edge_moe.verify import verify
from tests.benchmarks.fitted import edited, fitted, replace, save
from tests.tiny import tree

INT8 = SetKey("fake", "int8")


@pytest.fixture
def bundle(make_bundle):
    return make_bundle("two", experts=2, tau=0.3, recipes=("int8", "fp32"))


@pytest.fixture
def results(bundle, tmp_path):
    return save(fitted(bundle, images=800, timed=20, rounds=2), tmp_path / "results.json")


def test_a_promise_is_said_and_not_written(cli, bundle, results):
    before = tree(bundle)
    done = cli("choose", bundle, "--results", results, "--promise", "changed<=8%")
    assert (done.code, done.err) == (0, "")
    assert tree(bundle) == before
    assert "changed<=8% at 0.95 confidence, 800 images" in done.out
    assert "max_experts 1 of fake/int8 promises changed<=8% with 95% confidence (800 images, of which" in done.out
    assert "it is promised for images drawn as these were, answered by this set; others void it" in done.out
    assert "(the worst bound of 5 classes, each at delta / 5)" in done.out
    assert done.out.endswith("the default of fake/int8 stays tau 0.3, max_experts 1; --write changes it\n")


def test_json_has_every_offer(cli, bundle, results):
    command = ("choose", bundle, "--results", results, "--promise", "changed<=8%", "--all-sets", "--json")
    found = json.loads(cli(*command).out)
    assert {one["set"] for one in found["offers"]} == {"fake/int8", "fake/fp32"}
    first = found["offers"][0]
    assert first["certificate"]["tau"] == first["tau"] == first["point"]["tau"]
    assert (found["written"], first["certificate"]["epsilon"], first["unit"]) == (False, 0.08, "ms")
    assert json.loads(cli(*command, "--write").out)["written"]
    assert Bundle(bundle).manifest.sets[0].key == SetKey.parse(first["set"])


def test_it_is_written_with_its_certificate(cli, bundle, results, fake_backend):
    done = cli("choose", bundle, "--results", results, "--promise", "lost<=8%", "--all-sets", "--write")
    assert done.code == 0, done.err
    assert "each of 2 at delta / 2 (* the cheapest)" in done.out
    opened = Bundle(bundle)
    first = opened.manifest.sets[0]
    written = opened.operating(first)
    assert f"promises {written.certificate.rule}<=8%" in done.out
    assert (written.certificate.rule, written.certificate.m, written.certificate.n) == ("lost", 2, 800)
    assert 0 < written.default_tau < 1
    shown = cli("inspect", bundle).out
    assert f"{first.key} at its default tau promises lost<=8% with 95% confidence (800 images, of which" in shown
    checks = {one.what: one for one in verify(bundle, backend=fake_backend) if one.set == str(first.key)}
    assert checks["certificate"].passed and "promises" not in checks["certificate"].detail
    with Runtime(bundle, backend=fake_backend) as model:
        assert model.certificate == written.certificate


def test_a_certificate_of_another_bundle(cli, bundle, results, fake_backend):
    cli("choose", bundle, "--results", results, "--promise", "changed<=8%", "--write")
    raw = json.loads((bundle / "operating.json").read_text())
    one = raw["sets"]["fake/int8"]
    one["certificate"]["bundle"], tau = "0" * 64, one["default_tau"]
    (bundle / "operating.json").write_text(json.dumps(raw))
    assert "DOES NOT STAND: it was made for the set with digest 000000000000" in cli("inspect", bundle).out
    (check,) = (one for one in verify(bundle, backend=fake_backend) if one.what == "certificate")
    assert (check.set, check.passed) == ("fake/int8", False)
    assert "it was made for the set with digest 000000000000" in check.detail
    one["default_tau"] = 1.0  # by another hand
    (bundle / "operating.json").write_text(json.dumps(raw))
    assert f"DOES NOT STAND: it was made for tau {tau}" in cli("inspect", bundle).out
    with Runtime(bundle, backend=fake_backend) as model:
        assert model.certificate is None
    one["certificate"]["losses"] = 900
    (bundle / "operating.json").write_text(json.dumps(raw))
    cli("inspect", bundle).refused(1, "the certificate of fake/int8 has more losses than images")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--promise", "1%"), 2, "'1%' is no promise; expected a rule and a bound"),
        (("--promise", "changed<=101%"), 2, "has to be above 0% and below 100%"),
        (("--promise", "changed<=8%", "--confidence", 95), 2, "the confidence is 95.0; expected a number between 0"),
        (("--promise", "changed<=8%", "--exit-rate", 0.5), 2, "--promise is given with a wish"),
        (("--promise", "changed<=8%", "--max-experts", 9), 2, "max_experts is 9"),
        (("--exit-rate", 0.5, "--max-experts", 1), 2, "--max-experts and --confidence are of --promise"),
        (("--exit-rate", 0.5, "--confidence", 0.9), 2, "--max-experts and --confidence are of --promise"),
        (("--promise", "changed<=8%", "--seed", 0), 2, "--statistic and --seed are of wishes"),
        (("--promise", f"changed<=0.{'0' * 330}1%"), 2, "has to be above 0%"),
        (("--promise", "changed<=0.01%"), 1, "800 images are too few for changed<=0.01%"),
    ],
)
def test_what_is_refused(cli, bundle, results, arguments, code, words):
    before = tree(bundle)
    cli("choose", bundle, "--results", results, *arguments, "--write").refused(code, words)
    assert tree(bundle) == before


def test_results_of_another_bundle_or_with_others_answers(cli, bundle, results, make_bundle, tmp_path):
    from edge_moe.benchmarks.recorded import Routing

    other = make_bundle("other", experts=2, seed=5)
    cli("choose", other, "--results", results, "--promise", "changed<=8%").refused(1, "was measured on another bundle")
    routed = edited(fitted(bundle, images=800, timed=20, rounds=2), routing=Routing(set="fake/fp32", where="host"))
    given = ("choose", bundle, "--results", save(routed, tmp_path / "routed.json"), "--promise", "changed<=8%")
    for more in ((), ("--write",)):
        cli(*given, *more).refused(1, "has the answers of fake/fp32 in place of those of fake/int8")


def test_a_wish_says_that_it_is_one(cli, bundle, results):
    done = cli("choose", bundle, "--results", results, "--max-accuracy-drop", 1)
    assert "a wish, as seen on these images: what is to hold for others is promised, with --promise" in done.out


def test_images_that_chose_the_recipe_are_named(cli, bundle, results, tmp_path):
    made = fitted(bundle, images=800, timed=20, rounds=2)
    report = {"fingerprints": " ".join(made.fingerprints), "ranked": {"fake": {}}}
    (bundle / "parity.json").write_text(json.dumps(report))
    done = cli("choose", bundle, "--results", results, "--promise", "changed<=8%", "--write")
    assert "800 of these images chose the recipe of fake/int8 in convert" in done.out
    assert Bundle(bundle).operating(INT8).certificate.chose_recipe == 800
    assert "800 of them chose the recipe, too" in cli("inspect", bundle).out


def test_versions_of_originals_are_named(cli, bundle, tmp_path):
    made = replace(fitted(bundle, images=800, timed=20, rounds=2), groups=tuple((np.arange(800) // 4).tolist()))
    file = save(made, tmp_path / "grouped.json")
    done = cli("choose", bundle, "--results", file, "--promise", "changed<=30%")
    assert "over the 200 originals of which these 800 images are versions" in done.out


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (60, 20, 20, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_recalibrate_the_whole_way(cli, tiny_bundle, photographs, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    done = cli("recalibrate", bundle, photographs, "--promise", "changed<=20%")
    assert done.code == 0, done.err
    first = Bundle(bundle).manifest.sets[0].key
    assert f"of {first} promises changed<=20% with 95% confidence (60 images, of which" in done.out
    assert "--write changes it" in done.out
    assert Bundle(bundle).operating(first).certificate is None
    assert cli("recalibrate", bundle, photographs, "--promise", "changed<=20%", "--write").code == 0
    certificate = Bundle(bundle).operating(first).certificate
    assert (certificate.rule, certificate.n) == ("changed", 60)
    assert cli("verify", bundle, "--quiet").code == 0
    with Runtime(bundle) as model:
        assert model.certificate == certificate


def test_recalibrate_refuses(cli, tiny_bundle, photographs, tmp_path):
    for data, promise, code, words in (
        (photographs, "changed<=1%", 1, "60 images are too few for changed<=1%"),
        (photographs, "drop<=20%", 2, "needs labels"),
        (tmp_path / "nothing", "changed<=20%", 1, "does not exist"),
        (photographs, "changed", 2, "is no promise"),
    ):
        done = cli("recalibrate", tiny_bundle, data, "--promise", promise)
        assert (done.code, words in done.err) == (code, True), done.err
    (photographs / "bad.png").write_bytes(b"words")
    done = cli("recalibrate", tiny_bundle, photographs, "--promise", "changed<=20%")
    assert (done.code, "bad.png" in done.err) == (1, True)
