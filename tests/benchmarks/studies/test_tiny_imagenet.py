from __future__ import annotations

import sys
import zipfile

import pytest

from edge_moe.benchmarks.studies import tiny_imagenet
from edge_moe.data import open_data


@pytest.fixture
def zips(tmp_path):
    """Three classes, in two training zips and one for validation, with what does not belong to them."""
    folder = tmp_path / "zips"
    folder.mkdir()
    for archive, split, number in (("train-00", "train", 0), ("train-01", "train", 1), ("val", "val", 2)):
        with zipfile.ZipFile(folder / f"{archive}.zip", "w") as file:
            file.writestr(f"{split}/", "")
            file.writestr("README.txt", "words")
            file.writestr("../outside.JPEG", "words")
            for name in ("n03", "n01", "n02"):
                file.writestr(f"{split}/{name}/{number}.JPEG", name)
    return folder


def test_the_first_classes_of_all_zips(zips, tmp_path):
    assert tiny_imagenet.unpack(zips, tmp_path / "out", 2) == 6
    files = sorted(str(f.relative_to(tmp_path / "out")) for f in (tmp_path / "out").rglob("*") if f.is_file())
    assert files == sorted(
        f"{split}/{name}/{number}.JPEG"
        for name in ("n01", "n02")
        for split, number in (("train", 0), ("train", 1), ("val", 2))
    )
    assert open_data(tmp_path / "out", "train").classes == ("n01", "n02")


def test_the_command(zips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", str(zips), "-o", str(tmp_path / "out"), "--classes", "3"])
    tiny_imagenet.main()
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 9 images\n"


@pytest.mark.parametrize("missing", ["val.zip", "train-0?.zip"])
def test_a_missing_zip(zips, tmp_path, missing):
    for file in zips.glob(missing):
        file.unlink()
    with pytest.raises(SystemExit, match=r"should hold train-\*\.zip and val\.zip"):
        tiny_imagenet.unpack(zips, tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()
