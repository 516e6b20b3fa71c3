"""A bundle's default changes, and nothing else of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import msgspec
import pytest

from edge_moe import Runtime, defaults
from edge_moe.bundle import OPERATING, Bundle
from edge_moe.defaults import write_defaults
from edge_moe.errors import BundleError, OutputError, UsageError
from edge_moe.lock import acquire, lock_path
from edge_moe.operating import Certificate
from edge_moe.sets import Pattern, SetKey
from edge_moe.verify import verify
from tests.cli.conftest import small_disk
from tests.tiny import tree


@pytest.fixture
def bundle(make_bundle):
    return make_bundle(recipes=("int8", "fp32"), tau=0.25, max_experts=1)


def test_two_lines_of_operating_json_change(bundle, fake_backend):
    before, files = (bundle / OPERATING).read_text(), tree(bundle)
    write_defaults(bundle, Pattern(("fake",), "fp32"), 0.625, 2)
    after = (bundle / OPERATING).read_text()
    changed = [(a.strip(), b.strip()) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert changed == [
        ('"default_tau": 0.25,', '"default_tau": 0.625,'),
        ('"default_max_experts": 1,', '"default_max_experts": 2,'),
    ]
    assert {name: hash for name, hash in tree(bundle).items() if files.get(name) != hash}.keys() == {OPERATING}
    assert all(check.passed for check in verify(bundle, backend=fake_backend))
    with Runtime(bundle, backend=fake_backend, recipe="fp32") as model:
        assert (model.tau, model.max_experts) == (0.625, 2)
    with Runtime(bundle, backend=fake_backend) as model:
        assert (model.tau, model.max_experts) == (0.25, 1)


def test_the_first_set_by_default_and_back_again(bundle):
    before = tree(bundle)
    write_defaults(bundle, Pattern(), 1, 3)
    assert Bundle(bundle).operating(SetKey("fake", "int8")).default_tau == 1.0
    write_defaults(bundle, Pattern(), 0.25, 1)
    assert tree(bundle) == before


def test_another_set_is_the_default(bundle, fake_backend):
    write_defaults(bundle, Pattern(("fake",), "fp32"), 0.625, 2, default_set=True)
    with Runtime(bundle, backend=fake_backend) as model:
        assert (str(model.artifacts.key), model.tau, model.max_experts) == ("fake/fp32", 0.625, 2)
    assert all(check.passed for check in verify(bundle, backend=fake_backend))
    write_defaults(bundle, Pattern(("fake",), "int8"), 0.5, 1)
    assert [str(one.key) for one in Bundle(bundle).manifest.sets] == ["fake/fp32", "fake/int8"]
    raw = json.loads((bundle / OPERATING).read_text())
    (bundle / OPERATING).write_text(json.dumps(raw | {"default_set": "fake/int4"}))
    with pytest.raises(BundleError, match="its default set is fake/int4, expected one of fake/int8, fake/fp32"):
        Bundle(bundle)


def test_a_certificate_of_another_setting_or_bundle_is_not_written(bundle):
    opened = Bundle(bundle).operating(SetKey("fake", "int8"))
    one = Certificate(
        rule="changed", tau=0.5, max_experts=1, n=500, losses=1, epsilon=0.01, delta=0.05, m=1, images="0" * 64,
        bundle=opened.digest,
    )  # fmt: skip
    before = tree(bundle)
    for wrong in (msgspec.structs.replace(one, tau=0.4), msgspec.structs.replace(one, bundle="1" * 64)):
        with pytest.raises(BundleError, match="cannot be written: it was made for"):
            write_defaults(bundle, Pattern(("fake",), "int8"), 0.5, 1, certificate=wrong)
    assert tree(bundle) == before
    write_defaults(bundle, Pattern(("fake",), "int8"), 0.5, 1, certificate=one)
    assert Bundle(bundle).operating(SetKey("fake", "int8")).certificate == one


def test_a_certificate_goes_with_the_setting_that_it_is_of(bundle):
    certificate = {"rule": "changed", "tau": 0.25, "max_experts": 1, "n": 500, "losses": 1}
    certificate |= {"epsilon": 0.01, "delta": 0.05, "m": 1}
    certificate |= {"images": "0" * 64, "bundle": "1" * 64}
    raw = json.loads((bundle / OPERATING).read_text())
    for one in raw["sets"].values():
        one["certificate"] = certificate
    (bundle / OPERATING).write_text(json.dumps(raw))
    write_defaults(bundle, Pattern(("fake",), "int8"), 0.25, 1)
    assert msgspec.to_builtins(Bundle(bundle).operating(SetKey("fake", "int8")).certificate) == certificate
    write_defaults(bundle, Pattern(("fake",), "int8"), 0.3, 1)
    found = Bundle(bundle).operating_sets
    assert found["fake/int8"].certificate is None
    assert found["fake/fp32"].certificate is not None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((Pattern(), 1.5, 1), "tau is 1.5"),
        ((Pattern(), float("nan"), 1), "tau is nan"),
        ((Pattern(), 0.5, 4), "from 1 to 3"),
        ((Pattern(("onnx",)), 0.5, 1), "it has fake/int8"),
    ],
)
def test_a_setting_or_a_set_that_cannot_be(bundle, arguments, word):
    before = tree(bundle)
    with pytest.raises(UsageError, match=word):
        write_defaults(bundle, *arguments)
    assert tree(bundle) == before


def test_while_another_process_makes_the_bundle(bundle):
    """Else the old defaults came into a new bundle."""
    before = tree(bundle.parent)
    lock = acquire(bundle, "edge-moe convert")
    try:
        words = r"is being made by 'edge-moe convert' \(process \d+, since .*\); wait until that is done$"
        with pytest.raises(OutputError, match=words):
            write_defaults(bundle, Pattern(), 0.5, 1)
    finally:
        lock.release()
    assert tree(bundle.parent) == before


def test_from_reading_to_writing_nobody_else_changes_it(bundle, monkeypatch):
    real = defaults.Bundle

    def opened(path):
        assert lock_path(bundle).exists()
        return real(path)

    monkeypatch.setattr(defaults, "Bundle", opened)
    monkeypatch.chdir(bundle)
    for path in (bundle, Path(), Path("../bundle")):
        write_defaults(path, Pattern(), 0.5, 1)
        assert not lock_path(bundle).exists()


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="not a folder"):
        write_defaults(tmp_path / "nothing", Pattern(), 0.5, 1)


def test_a_full_disk(bundle):
    before = tree(bundle)
    with small_disk(100), pytest.raises(OutputError, match=r"cannot write .*operating\.json"):
        write_defaults(bundle, Pattern(), 0.5, 1)
    assert tree(bundle) == before


def test_a_read_only_folder(bundle, monkeypatch):
    def refuse(*_):  # root may write everywhere, so that permissions would prove nothing
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before = tree(bundle)
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*operating\.json: Read-only"):
        write_defaults(bundle, Pattern(), 0.5, 1)
    assert tree(bundle) == before
