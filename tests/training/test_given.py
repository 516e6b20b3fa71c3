"""Weights from elsewhere, and what is known of them: a config of ours beside the file, or torchvision's records."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

import pytest
import torch

from edge_moe.errors import CheckpointError, UsageError
from edge_moe.nn import Architecture, build_base
from edge_moe.nn.torchvision import torchvision
from edge_moe.training.checkpoint import save_checkpoint
from edge_moe.training.given import class_count, find_weights
from edge_moe.training.untrained import new_untrained
from tests.training.conftest import small_architecture, small_preprocessing


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch keeps what it downloaded; nothing can be downloaded."""

    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub/checkpoints"


def test_a_file_alone(tmp_path: Path) -> None:
    found = find_weights(str(tmp_path / "base.pth"), "resnet18")
    assert (found.file, found.known) == (tmp_path / "base.pth", None)


@pytest.mark.parametrize(
    "config", ['{"architecture": "mobilenetv3_small_100", "num_classes": 5}', "[1]", "not JSON", ""]
)
def test_a_config_of_others_says_nothing(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    assert find_weights(str(tmp_path / "base.pth"), "resnet18").known is None


def test_a_config_of_ours_beside_the_file(tmp_path: Path) -> None:
    checkpoint = new_untrained(small_architecture(), 1, small_preprocessing(), seed=0)
    save_checkpoint(tmp_path / "c", checkpoint)
    known = find_weights(str(tmp_path / "c/base.safetensors"), "mobilenet_v3_small").known
    assert known is not None
    assert known.where == str(tmp_path / "c/config.json")
    assert known.preprocessing == small_preprocessing()
    assert (known.stem_stride, known.labels) == (2, ("class 0", "class 1", "class 2"))
    assert (known.ensemble, known.space) == ("bagging", "logit")
    raw = json.loads((tmp_path / "c/config.json").read_text())
    (tmp_path / "c/config.json").write_text(json.dumps(raw | {"schema_version": 99}))
    with pytest.raises(CheckpointError, match=r"config.json has schema version 99"):
        find_weights(str(tmp_path / "c/base.safetensors"), "mobilenet_v3_small")


def test_a_config_of_another_architecture_says_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", new_untrained(small_architecture(), 1, small_preprocessing(), seed=0))
    for base in ("resnet18", "my_networks:small_cnn"):
        assert find_weights(str(tmp_path / "c/other.pth"), base).known is None


@pytest.mark.parametrize(
    ("base", "name", "file", "resize"),
    [
        ("mobilenet_v3_small", "IMAGENET1K_V1", "mobilenet_v3_small-047dcff4.pth", 256),
        ("mobilenet_v3_large", "DEFAULT", "mobilenet_v3_large-5c1a4163.pth", 232),
        ("resnet18", "IMAGENET1K_V1", "resnet18-f37072fd.pth", 256),
    ],
)
def test_torchvisions_weights(cache: Path, base: str, name: str, file: str, resize: int) -> None:
    cache.mkdir(parents=True)
    (cache / file).write_bytes(b"")
    found = find_weights(f"torchvision:{name}", base)
    assert found.file == cache / file
    known = found.known
    assert known is not None
    spec = known.preprocessing
    assert (spec.image_size, spec.resize, spec.interpolation) == (224, resize, "bilinear")
    assert (spec.mean, spec.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (known.stem_stride, len(known.labels), known.labels[0]) == (2, 1000, "tench")
    assert known.where.startswith("torchvision's IMAGENET1K_V")


def test_torchvisions_weights_that_are_not_there(cache: Path) -> None:
    words = (
        r"resnet18 is not in torch's cache and cannot be downloaded \(.*no network.*put it there as .*resnet18-f37072fd"
    )
    with pytest.raises(CheckpointError, match=words) as caught:
        find_weights("torchvision:IMAGENET1K_V1", "resnet18")
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no weights 'V7' for resnet18; expected one of IMAGENET1K_V1"):
        find_weights("torchvision:V7", "resnet18")
    with pytest.raises(UsageError, match=r"no weights for tests.own:network; it has some for mobilenet_v3_small"):
        find_weights("torchvision:IMAGENET1K_V1", "tests.own:network")


def test_torchvisions_weights_are_downloaded_into_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, file: str, digest: str, progress: bool) -> None:
        asked.append((url, digest))
        Path(file).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert find_weights("torchvision:IMAGENET1K_V1", "resnet18").file.read_bytes() == b"weights"
    assert asked == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")]


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "tests.own:network"])
def test_the_number_of_classes_is_in_the_weights(name: str) -> None:
    architecture = Architecture(base=name, classes=7, image_size=32)
    state = build_base(architecture).state_dict()
    two = Architecture(base=name, classes=2, image_size=32)
    assert class_count(two, dict(sorted(state.items()))) == 7
    assert class_count(two, {f"net.{key}": value for key, value in state.items()}) == 7
    assert class_count(two, {"weight": torch.zeros(3, 4)}) is None


def test_torchvision_has_weights_for_every_base() -> None:
    assert len(torchvision.models.get_model_weights("resnet18")["IMAGENET1K_V1"].meta["categories"]) == 1000
