from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_moe.bundle import Preprocessing
from edge_moe.data import LabelledImages, open_data
from edge_moe.errors import DataError, MissingExtraError, UsageError

SPEC = Preprocessing(image_size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def put(*files: Path) -> None:
    for level, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (level, level, level)).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train: two cats, one dog; val: one of each; and a name that is longer than the others."""
    root = tmp_path / "data"
    put(root / "train" / "dog" / "a.JPG", root / "train" / "cat" / "b.png", root / "train" / "cat" / "deep" / "a.jpeg")
    put(root / "val" / "dog" / "x.webp", root / "val" / "cat" / "y.bmp")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    return root


@pytest.mark.parametrize("strict", [False, True])
def test_a_folder_with_both_splits(folder: Path, strict: bool) -> None:
    train, val = (open_data(folder, split, strict=strict) for split in ("train", "val"))
    assert train.classes == val.classes == ("cat", "dog")
    assert [file.name for file in train.sources] == ["b.png", "a.jpeg", "a.JPG"]
    assert train.labels.tolist() == [0, 0, 1]
    assert [file.name for file in val.sources] == ["y.bmp", "x.webp"]
    assert train.labelled
    assert len(train) == 3


def test_a_folder_of_classes_is_either_split_but_not_for_training(folder: Path) -> None:
    train, val = (open_data(folder / "train", split) for split in ("train", "val"))
    assert train.sources == val.sources
    assert train.classes == ("cat", "dog")
    with pytest.raises(DataError, match=r"no subfolder 'val'; expected .*val/<class>/<image>"):
        open_data(folder / "train", "val", strict=True)


@pytest.mark.parametrize("strict", [False, True])
def test_a_missing_split_is_not_replaced_by_the_other(tmp_path: Path, strict: bool) -> None:
    put(tmp_path / "train" / "cat" / "a.png")
    with pytest.raises(DataError, match="no subfolder 'val'"):
        open_data(tmp_path, "val", strict=strict)


def test_images_without_classes(tmp_path: Path) -> None:
    put(tmp_path / "b.png", tmp_path / "a.png")
    data = open_data(tmp_path, "val")
    assert [file.name for file in data.sources] == ["a.png", "b.png"]
    assert not data.labelled
    assert data.with_classes(("cat",)) is data
    with pytest.raises(DataError):
        open_data(tmp_path, "train", strict=True)
    (tmp_path / "train").mkdir()
    put(tmp_path / "train" / "a.png")
    with pytest.raises(DataError, match="has no class folders"):
        open_data(tmp_path, "train", strict=True)


def test_hidden_files_and_folders_are_not_seen(folder: Path) -> None:
    cats = folder / "train" / "cat"
    put(folder / "train" / ".cache" / "a.png", cats / ".thumbnails" / "a.png")
    (cats / "._b.png").write_bytes(b"what macOS leaves beside b.png")
    data = open_data(folder, "train")
    assert data.classes == ("cat", "dog")
    assert len(data) == 3
    hidden = folder.parent / ".hidden" / "data"
    put(hidden / "cat" / "a.png")
    assert len(open_data(hidden, "train")) == 1, "a hidden folder that is asked for by name is opened"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "does not exist; expected a folder .* or one of 'digits', 'cluttered-digits', 'noise'"),
        (lambda root: root.write_text("x"), "is not a folder; expected a folder .* or one of 'digits'"),
        (lambda root: root.mkdir(), r"has no class folders; expected .*/<class>/<image>"),
        (lambda root: (root / ".hidden").mkdir(parents=True), "has no class folders"),
        (lambda root: (root / "train").mkdir(parents=True), r"train has no class folders"),
        (
            lambda root: (root / "train" / "cat").mkdir(parents=True),
            r"cat has no images; .*\.png.*: add some or remove",
        ),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_folders_that_hold_nothing(tmp_path: Path, make: Callable[[Path], Any], message: str, strict: bool) -> None:
    root = tmp_path / "data"
    make(root)
    if strict and root.is_dir() and not (root / "train").is_dir():
        message = "no subfolder 'train'"
    with pytest.raises(DataError, match=message):
        open_data(root, "train", strict=strict)


def test_one_empty_class_among_others_is_named(folder: Path) -> None:
    (folder / "train" / "eel").mkdir()
    with pytest.raises(DataError, match="eel has no images"):
        open_data(folder, "train")


def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str | Path) -> Any:
        if Path(path).name != closed:
            return scandir(path)
        raise PermissionError(13, "Permission denied", str(path))

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", denied)
    for closed in ("data", "train", "cat", "deep"):
        with pytest.raises(DataError, match=f"{closed} cannot be read: Permission denied"):
            open_data(folder, "train")


# --- the embedded digits, and noise ---


def test_digits_are_split_once_and_for_all() -> None:
    pytest.importorskip("sklearn")
    train, val = open_data("digits", "train"), open_data("digits", "val", strict=True)
    assert (len(train), len(val)) == (1437, 360)
    assert train.classes == tuple("0123456789")
    assert set(train.labels) == set(val.labels) == set(range(10))
    from sklearn.datasets import load_digits

    whole = np.clip(load_digits().images * 16, 0, 255).astype(np.uint8)
    assert sorted(image.tobytes() for image in [*train.sources, *val.sources]) == sorted(i.tobytes() for i in whole)
    # The split is part of the data set: published figures depend on it.
    assert val.labels[:12].tolist() == [1, 5, 6, 5, 9, 8, 0, 2, 2, 1, 6, 5]
    assert np.array_equal(train.sources[0], open_data("digits", "train").sources[0])


def test_digits_need_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"scikit-learn.*edge-moe\[train\]"):
        open_data("digits", "train")


@pytest.mark.parametrize("name", ["digits", "noise"])
def test_a_folder_with_the_name_of_an_embedded_set_is_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    put(tmp_path / name / "cat" / "a.png")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name), f"./{name}", f"{name}/"):
        assert open_data(path, "train").classes == ("cat",)
    message = f"{name} is an embedded data set, and there is a folder of that name here; give ./{name} for the folder"
    for strict in (False, True):
        with pytest.raises(UsageError, match=f"{message}, or rename it, or work in another folder, for the embedded"):
            open_data(name, "train", strict=strict)
    monkeypatch.chdir(tmp_path / name)
    assert "cat" not in open_data(name, "val").classes, "there the name can only be the embedded set's"


def test_noise_is_repeatable_unlabelled_and_nothing_to_train_on() -> None:
    train, again, val = (open_data("noise", split) for split in ("train", "train", "val"))
    assert not train.labelled
    assert all(np.array_equal(a, b) for a, b in zip(train.sources, again.sources, strict=True))
    assert not np.array_equal(train.sources[0], val.sources[0])
    assert np.std(train.sources) > 10
    with pytest.raises(DataError, match="noise has no labels; expected images to train on"):
        open_data("noise", "train", strict=True)


# --- LabelledImages ---


def numbered(count: int, classes: tuple[str, ...] = ("a", "b", "c")) -> LabelledImages:
    images = [np.full((9, 9), 10 * i, np.uint8) for i in range(count)]
    return LabelledImages("numbers", classes, images, np.arange(count) % 3)


def test_pixels_and_tensors() -> None:
    data = numbered(3)
    assert data.pixels(2, SPEC).shape == (8, 8, 3)
    assert np.unique(data.pixels(2, SPEC)).tolist() == [20]
    tensors = list(data.tensors(SPEC))
    assert [tensor.shape for tensor in tensors] == [(1, 8, 8, 3)] * 3
    assert [tensor.dtype for tensor in tensors] == [np.float32] * 3
    np.testing.assert_allclose([tensor.mean() for tensor in tensors], (np.arange(3) * 10 / 255 - 0.5) / 0.5, rtol=1e-6)


def test_a_sample_keeps_order_and_labels_and_follows_its_seed() -> None:
    data = numbered(20)
    sample = data.sample(7, seed=1)
    numbers = [int(image[0, 0]) // 10 for image in sample.sources]
    assert len(set(numbers)) == 7
    assert numbers == sorted(numbers)
    assert sample.labels.tolist() == [number % 3 for number in numbers]
    assert np.array_equal(data.sample(7, seed=1).labels, sample.labels)
    others = {tuple(int(image[0, 0]) for image in data.sample(7, seed=seed).sources) for seed in range(5)}
    assert len(others) == 5
    assert len(data.sample(20)) == len(data.sample(1000)) == 20


@pytest.mark.parametrize("count", [0, -1])
def test_a_sample_of_nothing_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"sample of {count} images"):
        numbered(3).sample(count)


def test_classes_are_matched_by_name() -> None:
    data = numbered(6).with_classes(("z", "c", "b", "a"))
    assert data.classes == ("z", "c", "b", "a")
    assert data.labels.tolist() == [3, 2, 1, 3, 2, 1]


def test_an_unknown_class_is_named() -> None:
    message = (
        r"numbers has the class 'b', which the model does not know \(2 such of 3\); .* a, 0, 1, 2, 3, \.\.\. \(10 in"
    )
    with pytest.raises(DataError, match=message):
        numbered(6).with_classes(("a", *map(str, range(9))))


def test_accents_composed_or_not_are_one_name() -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != apart
    for ours, model in ((composed, apart), (apart, composed)):
        data = numbered(6, (ours, "b", "c")).with_classes(("c", "b", model))
        assert data.classes == ("c", "b", model), "the model's own spelling"
        assert data.labels.tolist() == [2, 1, 0, 2, 1, 0]


def test_many_classes_are_matched_at_once() -> None:
    # All of ImageNet: looked up one by one in a tuple, they took ten seconds.
    classes = tuple(f"n{i:08d}" for i in range(21_841))
    data = LabelledImages("x", classes, [], np.arange(3))
    start = time.perf_counter()
    assert data.with_classes(classes[::-1]).labels.tolist() == [21_840, 21_839, 21_838]
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(("name", "title"), [("digits", "digits"), ("/d/birds/val", "birds"), ("/d/birds", "birds")])
def test_a_report_names_the_folder_not_the_split(name: str, title: str) -> None:
    assert LabelledImages(name, (), [], np.zeros(0, dtype=np.int64)).title == title
