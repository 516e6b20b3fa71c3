"""A promise on a device's own images: as of a trace of all experts, with a certificate, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_moe import DataError, Runtime, UsageError
from edge_moe.fingerprints import fingerprint, images_digest
from edge_moe.preprocess import prepare
from edge_moe.promise import Ladder, Promise, keep
from edge_moe.trace import record

IMAGES = list(np.random.default_rng(1).integers(0, 256, (400, 4, 4, 3), dtype=np.uint8))


@pytest.fixture
def runtime(make_bundle, fake_backend):
    with Runtime(make_bundle(experts=3, tau=0.25), backend=fake_backend) as opened:
        yield opened


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("promise", ["changed<=5%", "changed<=20%"])
def test_as_of_a_trace(runtime, most, promise):
    """The ladder of a few experts an image is that of all of them."""
    runtime.max_experts = most
    spec = runtime.manifest.preprocessing
    whole = record(runtime.part, 3, "bagging", "logit", [prepare(one, spec) for one in IMAGES])
    expected = keep(Ladder.of(whole, most), Promise.parse(promise))
    found = runtime.recalibrate(IMAGES, promise)
    assert found.kept == expected
    assert runtime.tau == found.tau == expected.tau > 0
    changed = 0
    for image in IMAGES:
        runtime.tau = found.tau
        early = runtime.predict(image).index
        runtime.tau = 0
        changed += early != runtime.predict(image).index
    assert changed == expected.lost


def test_the_certificate_is_of_these_images_and_this_setting(runtime):
    assert runtime.certificate is None
    found = runtime.recalibrate(iter(IMAGES), "changed<=5%", confidence=0.9)
    one = found.certificate
    assert (one.rule, one.n, one.epsilon, one.m) == ("changed", 400, 0.05, 1)
    assert one.delta == pytest.approx(0.1)
    assert one.images == images_digest(fingerprint(image) for image in IMAGES)
    assert one.bundle == runtime.digest
    assert runtime.certificate == one
    runtime.tau = 0.9
    assert runtime.certificate is None
    runtime.tau = found.tau
    assert runtime.certificate == one
    runtime.max_experts = 2
    assert runtime.certificate is None
    again = runtime.recalibrate(IMAGES, "changed<=20%")
    assert runtime.certificate == again.certificate != one
    runtime.tau, runtime.max_experts = found.tau, 1
    assert runtime.certificate == one


def test_nobody_else_is_answered_meanwhile(runtime):
    """Else another image's outputs were taken for this one's."""
    refused = []

    def images():
        for image in IMAGES:
            try:
                runtime.predict(image)
            except UsageError as error:
                refused.append(str(error))
            yield image

    runtime.recalibrate(images(), "changed<=5%")
    assert len(refused) == 400 and "busy" in refused[0]
    runtime.close()
    with pytest.raises(UsageError, match="closed"):
        runtime.recalibrate(IMAGES, "changed<=5%")


def test_images_of_one_scene_count_as_one(runtime):
    groups = [n // 4 for n in range(400)]
    found = runtime.recalibrate(IMAGES, "changed<=30%", groups=groups)
    assert (found.certificate.groups, found.certificate.n) == (100, 400)
    assert found.tau <= runtime.recalibrate(IMAGES, "changed<=30%").tau
    with pytest.raises(DataError, match="expected a group for each of 400 images, found 3"):
        runtime.recalibrate(IMAGES, "changed<=30%", groups=[0, 1, 2])


@pytest.mark.parametrize("images", ["abc", None, IMAGES[0], b"x", 7])
def test_what_is_not_several_images(runtime, images):
    with pytest.raises(UsageError, match="is not several images; expected a list of files, or of arrays"):
        runtime.recalibrate(images)


def test_too_few_images_leave_tau_as_it_was(runtime):
    with pytest.raises(DataError, match=r"40 images are too few for changed<=1%: .* 7\.2 points .* takes 299 images"):
        runtime.recalibrate(IMAGES[:40])
    with pytest.raises(DataError, match="no images to recalibrate on"):
        runtime.recalibrate([])
    assert runtime.tau == 0.25


def test_what_is_refused(runtime, make_bundle, fake_backend, tmp_path):
    with pytest.raises(UsageError, match=r"'lost<=1%' needs labels, which a device's own images have not"):
        runtime.recalibrate(IMAGES, "lost<=1%")
    with pytest.raises(UsageError, match="is no promise"):
        runtime.recalibrate(IMAGES, "1%")
    (tmp_path / "bad.png").write_bytes(b"words")
    with pytest.raises(DataError, match=r"bad\.png"):
        runtime.recalibrate([*IMAGES, tmp_path / "bad.png"])
    assert runtime.tau == 0.25
    plain = make_bundle("plain", experts=0)
    with Runtime(plain, backend=fake_backend) as model, pytest.raises(UsageError, match="is a plain network"):
        model.recalibrate(IMAGES)


def test_numbers_are_numbers(runtime):
    found = runtime.recalibrate(IMAGES, "changed<=5%")
    assert {type(value) for value in dataclasses.astuple(found.kept)[1:]} <= {int, float, type(None)}
