"""Each choice comes from what was asked, what is known, or what is usual, and says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_moe.bundle import Preprocessing
from edge_moe.errors import UsageError
from edge_moe.sizes import Size
from edge_moe.training.given import Given, Known
from edge_moe.training.preparation import Wishes, decide

OURS = Preprocessing(image_size=64, resize=72, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bicubic")
NOTHING = Given(Path("b.pth"), None)


def known(spec: Preprocessing = OURS, stem_stride: int = 1) -> Given:
    return Given(Path("c/b.pth"), Known("c/config.json", spec, stem_stride, ("a", "b")))


@pytest.mark.parametrize(
    ("size", "resize", "scratch"),
    [(224, 256, 2), (32, 32, 1), (127, 127, 1), (128, 146, 2), ((64, 96), (64, 96), 1), ((224, 320), (224, 320), 2)],
)
def test_what_is_usual(size: Size, resize: Size, scratch: int) -> None:
    for given, stride in ((None, scratch), (NOTHING, 2)):
        found = decide(Wishes(image_size=size), given, 224)
        spec = found.preprocessing
        assert (spec.image_size, spec.resize, found.stem_stride) == (size, resize, stride)
        assert (spec.mean, spec.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        assert spec.interpolation == "bilinear"


def test_what_is_known_goes_before_what_is_usual() -> None:
    found = decide(Wishes(), known(), 224)
    assert (found.preprocessing, found.stem_stride) == (OURS, 1)
    assert str(found) == (
        "images: shorter side to 72, bicubic, cut to 64 x 64, mean 0.5, std 0.25, stem stride 1 (c/config.json)"
    )


def test_what_is_asked_goes_before_what_is_known() -> None:
    wishes = Wishes(resize=(80, 80), mean=(0.1, 0.2, 0.3), stem_stride=2)
    found = decide(wishes, known(), 224)
    assert found.preprocessing == Preprocessing(
        image_size=64, resize=(80, 80), mean=(0.1, 0.2, 0.3), std=(0.25,) * 3, interpolation="bicubic"
    )
    assert str(found) == (
        "images: resized to 80 x 80 (given); bicubic, cut to 64 x 64 (c/config.json); mean 0.1, 0.2, 0.3 (given); "
        "std 0.25 (c/config.json); stem stride 2 (given)"
    )


def test_a_resize_belongs_to_its_image_size() -> None:
    found = decide(Wishes(image_size=160), known(), 224)
    assert (found.preprocessing.resize, found.sources["resize"]) == (183, "assumed")
    assert (found.preprocessing.mean, found.stem_stride) == ((0.5,) * 3, 1)


def test_what_is_assumed_is_said() -> None:
    assert str(decide(Wishes(), NOTHING, 224)) == (
        "images: shorter side to 256, bilinear, cut to 224 x 224 (assumed); mean 0.485, 0.456, 0.406, "
        "std 0.229, 0.224, 0.225 (assumed: ImageNet's); stem stride 2 (assumed: torchvision's)"
    )
    assert "(default)" in str(decide(Wishes(), None, 224))
    assert "assumed" not in str(decide(Wishes(), None, 224))


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"image_size": 7}, "image_size is 7; expected at least 8 pixels"),
        ({"image_size": (32, 4)}, "image_size is 32 x 4; expected at least 8 pixels"),
        ({"resize": 200}, "resize is 200; expected at least image_size, which is 224"),
        ({"image_size": (64, 96), "resize": 80}, "expected at least the longer side of image_size, which is 64 x 96"),
        ({"image_size": 64, "resize": (80, 60)}, "resize is 80 x 60; expected at least image_size, which is 64"),
        ({"mean": (127.5,) * 3}, "mean is 127.5; expected numbers from 0 to 1: .*divide .* by 255"),
        ({"mean": (float("nan"),) * 3}, "mean is nan"),
        ({"std": (0.5, 0.0, 0.5)}, "std is 0.5, 0, 0.5; expected numbers above 0"),
        ({"std": (58.4, 57.1, 57.4)}, "divide what is meant for 0 to 255 by 255"),
        ({"interpolation": "lanczos"}, "interpolation is 'lanczos'; expected one of bicubic, bilinear, nearest"),
    ],
)
def test_what_cannot_be(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        decide(Wishes(**wishes), None, 224)
