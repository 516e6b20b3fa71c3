"""edge-moe pack: what it prints, and what it refuses in one line."""

from __future__ import annotations

import pytest

from edge_moe import play
from tests.cli.conftest import small_disk
from tests.test_bundle import flip
from tests.tiny import tree


def rows(out: str) -> list[list[str]]:
    """The cells of the table."""
    lines = [line for line in out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_what_it_tells(cli, own_bundle, tmp_path):
    done = cli("pack", "--play", own_bundle, "-o", tmp_path / "packs")
    assert (done.code, done.err) == (0, "")
    first, *experts, last = rows(done.out)
    assert first[:2] == ["bundle", "install-time"]
    assert [row[:3] for row in experts] == [[f"bundle_expert_{k:02d}", "on-demand", "1"] for k in range(2)]
    assert last[:3] == ["all experts", "on-demand", "2"]
    assert sum(float(row[3]) for row in experts) == pytest.approx(float(last[3]), abs=0.11)
    line = done.out.splitlines()[-1]
    assert line == f"{tmp_path / 'packs'}: litert/int8; {tmp_path / 'packs/README.txt'} says what to do with it"


def test_sets_by_name(cli, own_bundle, tmp_path):
    done = cli("pack", "--play", own_bundle, "-o", tmp_path / "packs", "--set", "onnx/int8,litert", "--name", "birds")
    assert done.code == 0
    assert rows(done.out)[0][0] == "birds"
    assert "packs: onnx/int8, litert/int8, litert/fp32; " in done.out.splitlines()[-1]


@pytest.mark.parametrize("experts", [0, 1])
def test_few_experts(cli, make_bundle, tmp_path, experts):
    done = cli("pack", "--play", make_bundle(experts=experts), "-o", tmp_path / "packs")
    assert done.code == 0
    assert len(rows(done.out)) == 1 + experts


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["-o", "packs"], 2, ["add --play"]),
        (["--play"], 2, ["--output", "--help"]),
        (["--play", "-o", "packs", "--set", "onnx"], 2, ["no artifacts for onnx/any recipe; it has fake/int8"]),
        (["--play", "-o", "packs", "--name", "my-birds"], 2, ["'my-birds' is no name of an asset pack", "underscores"]),
    ],
)
def test_wrong_usage(cli, make_bundle, tmp_path, monkeypatch, more, code, words):
    monkeypatch.chdir(tmp_path)
    cli("pack", make_bundle(), *more).refused(code, *words)
    assert not (tmp_path / "packs").exists()


def test_what_cannot_be_packed(cli, make_bundle, tmp_path):
    out = tmp_path / "packs"
    cli("pack", "--play", tmp_path / "none", "-o", out).refused(1, "none is not a folder; expected a bundle")
    bundle = make_bundle()
    assert cli("pack", "--play", bundle, "-o", out).code == 0
    before = tree(out)
    cli("pack", "--play", bundle, "-o", out).refused(1, "exists already", "--force")
    flip(bundle / "fake/int8/expert_02.npz")
    cli("pack", "--play", bundle, "-o", out, "--force").refused(1, "fake/int8/expert_02.npz was altered")
    assert tree(out) == before


def test_a_disk_that_is_full(cli, own_bundle, tmp_path):
    with small_disk(9_000):
        cli("pack", "--play", own_bundle, "-o", tmp_path / "packs").refused(1, "cannot write", "bundle")
    assert list(tmp_path.iterdir()) == []


def test_what_may_be_too_large_is_a_note(cli, make_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(play, "_MOST_PACK_BYTES", 1000)
    done = cli("pack", "--play", make_bundle(experts=1), "-o", tmp_path / "packs")
    assert done.code == 0
    assert done.err.startswith("edge-moe: note: the pack bundle has 0.00 GB, and Google Play takes 0.0 GB")


def test_ctrl_c(cli, make_bundle, tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(play, "write_file", pressed)
    cli("pack", "--play", make_bundle(), "-o", tmp_path / "packs").refused(130, "stopped; what was there before")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
