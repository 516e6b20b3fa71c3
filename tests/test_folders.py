"""What is a class and what a split, what is followed, and that what is not read is told."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from edge_moe.data import open_data
from edge_moe.errors import DataError


def put(root: Path, *files: str) -> Path:
    """Images, folders (names that end in a slash) and other files (names that begin with =)."""
    for name in files:
        path = root / name.removeprefix("=")
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("="):
            path.write_text("no image")
        else:
            Image.new("RGB", (8, 8)).save(path, "PNG")
    return root


TWO_WAYS = "can be read in two ways"
NO_VAL = "has no subfolder 'val'; expected"
LAYOUTS = {
    # what there is: (val for commands that need one split, val for training); classes, or words of the refusal
    "classes": (["bus/1.png", "car/1.png"], ["bus", "car"], NO_VAL),
    "splits": (["train/bus/1.png", "val/bus/1.png"], ["bus"], ["bus"]),
    "only train": (["train/bus/1.png"], NO_VAL, NO_VAL),
    "only val": (["val/bus/1.png", "val/car/1.png"], ["bus", "car"], ["bus", "car"]),
    "splits and a test set": (["train/bus/1.png", "val/bus/1.png", "test/bus/1.png"], ["bus"], ["bus"]),
    "splits and test images": (["train/bus/1.png", "val/bus/1.png", "test/1.png"], ["bus"], ["bus"]),
    "val and test images": (["val/bus/1.png", "test/1.png"], ["bus"], ["bus"]),
    "splits and other images": (["train/bus/1.png", "val/bus/1.png", "more/1.png"], ["bus"], ["bus"]),
    "splits and papers": (["train/bus/1.png", "val/bus/1.png", "=papers/a.json"], ["bus"], ["bus"]),
    "splits, loose images": (["train/bus/1.png", "train/2.png", "val/bus/1.png", "1.png"], ["bus"], ["bus"]),
    "class train": (["bus/1.png", "train/1.png"], ["bus", "train"], NO_VAL),
    "class val": (["bus/1.png", "val/1.png"], ["bus", "val"], "is a folder of classes, 'val' among them; expected"),
    "classes train, val": (["bus/1.png", "train/1.png", "val/1.png"], ["bus", "train", "val"], "'val' among them"),
    "class train, a val": (["bus/1.png", "train/1.png", "val/a/1.png"], TWO_WAYS, TWO_WAYS),
    "class or split": (["bus/1.png", "train/steam/1.png"], TWO_WAYS, TWO_WAYS),
    "both in one": (["bus/1.png", "train/steam/1.png", "train/1.png"], TWO_WAYS, TWO_WAYS),
    "both in one, both splits": (["a/1.png", "train/b/1.png", "train/1.png", "val/b/1.png"], TWO_WAYS, TWO_WAYS),
    "a class in folders": (["bus/old/1.png", "train/1.png"], TWO_WAYS, TWO_WAYS),
    "three splits or classes": (["test/1.png", "train/1.png", "val/1.png"], TWO_WAYS, TWO_WAYS),
    "no labels": (["train/1.png", "val/1.png"], [], "val has no class folders"),
    "no labels, only val": (["val/1.png"], [], "val has no class folders"),
    "no labels for val": (["train/bus/1.png", "val/1.png"], [], "val has no class folders"),
    "no labels, papers": (["train/1.png", "val/1.png", "=papers/a.json"], [], "val has no class folders"),
    "no labels, no splits": (["1.png"], [], NO_VAL),
    "empty class": (["bus/1.png", "val/"], "val has no images", "'val' among them"),
    "empty class in val": (["val/bus/"], "bus has no images", "bus has no images"),
    "empty val": (["train/bus/1.png", "val/"], "val has no class folders", "val has no class folders"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_split_or_class(layout: str, tmp_path: Path) -> None:
    files, *expected = LAYOUTS[layout]
    root = put(tmp_path / "d", *files)
    for strict, wanted in zip((False, True), expected, strict=True):
        if isinstance(wanted, str):
            with pytest.raises(DataError, match=wanted) as refused:
                open_data(root, "val", strict=strict)
            assert "\n" not in str(refused.value)
        else:
            assert list(open_data(root, "val", strict=strict).classes) == wanted


def test_classes_named_as_splits_keep_their_labels(tmp_path: Path) -> None:
    root = put(tmp_path / "d", "bus/1.png", "train/1.png", "val/1.png")
    for split in ("train", "val"):
        data = open_data(root, split)
        assert (len(data), data.classes, data.labels.tolist()) == (3, ("bus", "train", "val"), [0, 1, 2])


def test_what_is_said_of_a_doubtful_folder_resolves_it(tmp_path: Path) -> None:
    root = put(tmp_path / "d", "test/1.png", "train/1.png", "val/1.png")
    with pytest.raises(DataError, match=r"give .*d/train itself for .*, or move the classes into .*d/val/"):
        open_data(root, "val")
    assert open_data(root / "train", "val").classes == ()
    (root / "moved").mkdir()
    for name in ("test", "train", "val"):
        (root / name).rename(root / "moved" / name)
    (root / "moved").rename(root / "val")
    assert open_data(root, "val", strict=True).classes == ("test", "train", "val")


# --- what is followed ---


def test_linked_folders_and_every_suffix(tmp_path: Path) -> None:
    root = put(tmp_path / "d", "cat/1.jpg", *(f"cat/{k}.jfif" for k in range(9)))
    put(tmp_path / "more", "2.jpg")
    (root / "cat" / "more").symlink_to("../../more")
    data = open_data(root, "val")
    assert (len(data), data.notes) == (11, ())
    (root / "dog").symlink_to(tmp_path / "more")
    assert open_data(root, "val").classes == ("cat", "dog")


def test_links_that_lead_back(tmp_path: Path) -> None:
    root = put(tmp_path / "d", "cat/1.png", "cat/deep/2.png", "cat/zoo/3.png", "dog/1.png")
    put(tmp_path / "more", "4.png")
    (tmp_path / "more" / "again").symlink_to(tmp_path / "more")
    for name, target in {
        "cat/self": ".",
        "cat/up": "..",
        "cat/deep/up": "../..",
        "cat/deep/all": tmp_path,
        "cat/a": "zoo",  # found before the folder itself
        "cat/more": "../../more",
        "cat/more2": "../../more",
        "round": "../d",
    }.items():
        (root / name).symlink_to(target)
    data = open_data(root, "val")
    assert data.classes == ("cat", "dog")
    found = [str(Path(str(file)).relative_to(root)) for file in data.sources]
    assert found == ["cat/1.png", "cat/deep/2.png", "cat/more/4.png", "cat/zoo/3.png", "dog/1.png"]
    assert data.notes == (f"{root}: 5 images are read; left out: 8 links that lead back",)


# --- what is told ---


def test_what_is_left_out_is_counted_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = put(tmp_path / "d", "cat/1.png", "dog/1.png", "2.png", "3.png", "=cat/a.heic", "=cat/deep/b.HEIC")
    put(root, "=readme", "=dog/._1.png", "=.DS_Store", ".cache/1.png")
    (root / "dog" / "gone.png").symlink_to("nothing")
    (root / "dog" / "loop.png").symlink_to("loop.png")
    with caplog.at_level(logging.INFO, "edge_moe"):
        data = open_data(root, "val")
    line = (
        f"{root}: 2 images are read; left out: 3 files with other suffixes (.heic, none), "
        "2 images beside the class folders, 3 hidden files and folders, 2 broken links"
    )
    assert data.notes == (line,)
    assert caplog.messages == [line]
    assert data.sample(1).notes == data.with_classes(("dog", "cat")).notes == data.notes


def test_one_of_a_kind_is_told_in_the_singular(tmp_path: Path) -> None:
    root = put(tmp_path / "d", "cat/1.png", "=cat/a.txt", "2.png", "=.hidden")
    (root / "cat" / "self").symlink_to(".")
    os.mkfifo(root / "cat" / "pipe.png")
    assert (
        open_data(root, "val")
        .notes[0]
        .endswith(
            "left out: 1 file with other suffixes (.txt), 1 image beside the class folders, 1 hidden file or folder, "
            "1 link that leads back, 1 pipe or device"
        )
    )


def test_folders_beside_the_splits_and_a_split_without_labels_are_told(tmp_path: Path) -> None:
    root = put(tmp_path / "d", "train/cat/1.png", "val/1.png", "test/1.png")
    assert open_data(root, "train").notes == (
        f"{root / 'train'}: 1 images are read; left out: 1 folder beside the splits (test)",
    )
    assert open_data(root, "val").notes[0] == f"{root / 'val'} has no class folders: its 1 images have no labels"


def test_nothing_left_out_is_nothing_told(tmp_path: Path) -> None:
    assert open_data(put(tmp_path / "d", "cat/1.png", "cat/deep/2.png"), "val").notes == ()
    assert open_data(put(tmp_path / "loose", "3.png"), "val").notes == ()


def test_a_class_of_files_that_are_not_read_names_them(tmp_path: Path) -> None:
    root = put(tmp_path / "d", "=cat/a.heic", "=dog/b.txt", "cat/1.png")
    message = r"dog has no images; expected files ending in .*\.avif, .*\(found 1 file with other suffixes \(\.txt\)\)"
    with pytest.raises(DataError, match=message):
        open_data(root, "val")


# --- names ---


def test_names_are_composed_and_twins_are_refused(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = put(tmp_path / "d", f"{apart}/1.png", "zoo/1.png", "cafz/1.png")
    assert open_data(root, "val").classes == ("cafz", composed, "zoo")
    put(root, f"{composed}/2.png")
    with pytest.raises(DataError, match=r"two folders for the class 'café', 'cafe\\u0301' and 'caf\\xe9'; "):
        open_data(root, "val")


@pytest.mark.parametrize("name", [b"d/caf\xe9/1.png", b"d/cat/caf\xe9.png", b"caf\xe9/cat/1.png"])
def test_names_that_are_no_text(tmp_path: Path, name: bytes) -> None:
    file = tmp_path / os.fsdecode(name)
    try:
        file.parent.mkdir(parents=True)
        file.touch()
    except OSError:
        pytest.skip("this file system takes text only")
    root = tmp_path / os.fsdecode(name.split(b"/")[0])
    with pytest.raises(DataError, match=r"caf\\xe9.* is not in UTF-8; rename it"):
        open_data(root, "val")
