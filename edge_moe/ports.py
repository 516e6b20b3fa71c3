"""docs/vectors.json: what every port of the runtime is held against before it sees a bundle.

Manifests to take and to refuse, images with the pixels that they become, and the exit rule on numbers alone. A bundle's
own golden samples (docs/bundle.md) say whether a device computes right; this says whether a port understands.

Axis letters: H W height and width, K experts, Y classes.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_moe import vectors
from edge_moe.bundle import parse_manifest
from edge_moe.decode import to_rgb
from edge_moe.errors import BundleError
from edge_moe.manifest import Preprocessing
from edge_moe.preprocess import resize_crop
from edge_moe.records import Count, Strict
from edge_moe.vectors import Vectors

__all__ = ["ImageCase", "ManifestCase", "PortVectors", "changed", "decode", "make", "pixels"]

_SCHEMA_VERSION = 1
_SIZES = ((0, 2), (1, 2), (2, 3), (4, 10))  # K, Y


class ManifestCase(Strict, frozen=True):
    """The manifest with one value changed."""

    name: str
    at: tuple[str | int, ...]  # keys and places on the way to the value
    value: Any
    removed: bool  # instead
    sound: bool  # whether a port takes it


class ImageCase(Strict, frozen=True):
    """An image file, and the pixels that it becomes."""

    name: str
    image: bytes  # of the file; in JSON base64
    spec: Preprocessing
    pixels: bytes  # [H][W][3] after resize and crop; in JSON base64
    within: Count  # grey levels that a right port may differ by: 0, but where decoders round in their own ways


class PortVectors(Strict, frozen=True):
    """The file."""

    schema_version: int
    manifest: msgspec.Raw
    manifests: tuple[ManifestCase, ...]
    images: tuple[ImageCase, ...]
    rule: tuple[Vectors, ...]


def make(manifest: bytes) -> bytes:
    """Return the file; `manifest` is a sound one, of two experts and 32 pixels, that is changed here and there."""
    raw = msgspec.json.decode(manifest)
    cases = (
        ManifestCase(name=name, at=at, value=value, removed=removed, sound=_sound(changed(raw, at, value, removed)))
        for name, at, value, removed in _changes(raw)
    )
    rule = (
        msgspec.json.decode(vectors.make(experts, classes, kind, space), type=Vectors)
        for experts, classes in _SIZES
        for kind in ("bagging", "expert")
        for space in ("logit", "probability")
    )
    return msgspec.json.encode(
        PortVectors(
            schema_version=_SCHEMA_VERSION,
            manifest=msgspec.Raw(msgspec.json.encode(raw)),
            manifests=tuple(cases),
            images=tuple(_images()),
            rule=tuple(rule),
        )
    )


def decode(data: bytes) -> PortVectors:
    """Return what the bytes of a file hold; raise msgspec.MsgspecError where they are no such file."""
    return msgspec.json.decode(data, type=PortVectors)


def changed(manifest: Any, at: tuple[str | int, ...], value: Any, removed: bool) -> Any:
    """Return a copy of a manifest's JSON with the value `at` that place replaced, or `removed`."""
    if not at:
        return value
    found = copy.deepcopy(manifest)
    place = found
    for key in at[:-1]:
        place = place[key]
    if removed:
        del place[at[-1]]
    elif isinstance(place, list) and at[-1] == len(place):
        place.append(value)
    else:
        place[at[-1]] = value
    return found


def pixels(image: bytes, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    """Return what an image file becomes: [H, W, 3]."""
    with Image.open(io.BytesIO(image)) as opened:
        return resize_crop(to_rgb(opened), spec)


def _for_npu(one: Any, scale: float | None) -> Any:
    """Return the set as if it were one of an NPU, with an input of integers in steps of `scale`."""
    (taken,) = one["parts"]["base"]["inputs"]
    base = {**one["parts"]["base"], "inputs": [{**taken, "dtype": "int8", "scale": scale, "zero_point": 3}]}
    return {**one, "runs_on": {"processor": [], "npu": "an NPU"}, "parts": {**one["parts"], "base": base}}


def _sound(raw: Any) -> bool:
    try:
        parse_manifest(msgspec.json.encode(raw), "it")
    except BundleError:
        return False
    return True


def _changes(raw: Any) -> Iterator[tuple[str, tuple[str | int, ...], Any, bool]]:
    """Yield name, place, value, and whether it is removed."""

    def at(*path: str | int) -> Any:
        place = raw
        for key in path:
            place = place[key]
        return place

    part: tuple[str | int, ...] = ("sets", 0, "parts", "base")
    sample: tuple[str | int, ...] = ("sets", 0, "golden", "samples", 0)
    yield "as it is", ("trained",), raw["trained"], False
    yield "a label is whatever text it is", ("labels", 0), "<script>alert(1)</script>\u202e\u0000", False
    yield "other tools", ("tools", "a package"), "1.0", False
    yield "what has a default may be left away", ("network",), None, True
    yield "no network", ("network",), None, False
    yield "height and width", ("preprocessing", "resize"), [32, 40], False
    yield "a processor's feature", ("sets", 0, "runs_on", "processor"), ["avx512_vnni"], False
    yield "an NPU's set", ("sets", 0), _for_npu(at("sets", 0), 0.5), False
    yield "an NPU's integers that mean nothing", ("sets", 0), _for_npu(at("sets", 0), None), False
    yield "integers of a set for no NPU", (*part, "inputs", 0, "dtype"), "int8", False
    yield "one set alone", ("sets",), at("sets")[:1], False
    for key in sorted(raw.keys() - {"network"}):
        yield f"no {key}", (key,), None, True
    yield "no manifest", (), [], False
    yield "null", (), None, False
    yield "an unknown key", ("more",), 1, False
    yield "an unknown key, deep down", (*part, "more"), 1, False
    yield "an older schema", ("schema_version",), 2, False
    yield "a newer schema", ("schema_version",), 4, False
    yield "a schema that is text", ("schema_version",), "3", False
    yield "true is no number", ("experts",), True, False
    yield "a number is not true", ("trained",), 1, False
    yield "experts below 0", ("experts",), -1, False
    yield "experts without parts", ("experts",), 3, False
    yield "parts without experts", ("experts",), 1, False
    yield "more experts than anybody counts", ("experts",), 10**12, False
    yield "no label", ("labels",), [], False
    yield "a label too many", ("labels", len(raw["labels"])), "one more", False
    yield "a label that is no text", ("labels", 0), 1, False
    yield "another ensemble", ("ensemble",), "mean", False
    yield "another space", ("space",), "log", False
    yield "another interpolation", ("preprocessing", "interpolation"), "lanczos", False
    yield "no pixels", ("preprocessing", "image_size"), 0, False
    yield "one side of two", ("preprocessing", "image_size"), [32], False
    yield "half a pixel", ("preprocessing", "image_size"), 31.5, False
    yield "resized to less than the crop", ("preprocessing", "resize"), 31, False
    yield "resized to less than the crop on one side", ("preprocessing", "resize"), [32, 31], False
    yield "resized to more than anybody has", ("preprocessing", "resize"), 10**9, False
    yield "another size than the base takes", ("preprocessing", "image_size"), 16, False
    yield "divided by 0", ("preprocessing", "std"), [0.5, 0, 0.5], False
    yield "two colours", ("preprocessing", "mean"), [0.5, 0.5], False
    yield "four colours", ("preprocessing", "mean"), [0.5, 0.5, 0.5, 0.5], False
    yield "not one set", ("sets",), [], False
    yield "a set twice", ("sets", 1), raw["sets"][0], False
    yield "no base", ("parts", "base"), None, True
    yield "a set without an expert", ("sets", 0, "parts", "expert_00"), None, True
    yield "a part of no kind", ("parts", "base", "kind"), "head", False
    yield "macs below 0", ("parts", "base", "macs"), -1, False
    yield "logits of another width", ("parts", "gate", "outputs", 0, "shape"), [1, 3], False
    for name, path in (
        ("leaves the bundle", "../base.tflite"),
        ("leaves the bundle later", "litert/../../base.tflite"),
        ("is absolute", "/etc/passwd"),
        ("is a drive's", "C:base.tflite"),
        ("has a backslash", "litert\\base.tflite"),
        ("has a NUL", "litert/base\0.tflite"),
        ("is too long", "litert/" + "a" * 249),
    ):
        yield f"a path that {name}", (*part, "file"), path, False
    yield "a golden path that leaves the bundle", ("golden", "tensors", "file"), "../inputs.npz", False
    yield "a short digest", (*part, "sha256"), "0" * 63, False
    yield "a digest in capitals", (*part, "sha256"), "A" * 64, False
    yield "bytes below 0", (*part, "bytes"), -1, False
    yield "an input of another name", (*part, "inputs", 0, "name"), "pixels", False
    yield "an input of another shape", (*part, "inputs", 0, "shape"), [1, 32, 32, 4], False
    yield "an input with a layout of no name", (*part, "inputs", 0, "layout"), "HWC", False
    yield "an output less", (*part, "outputs"), at(*part, "outputs")[:1], False
    yield "made from what is not there", ("sets", 0, "made_from", "expert_07"), "0" * 64, False
    yield "a golden sample twice", ("sets", 0, "golden", "samples", 1), at(*sample), False
    yield "a golden label that is none", (*sample, "label"), len(raw["labels"]), False
    yield "a golden expert that is none", (*sample, "experts"), [2], False
    yield "more golden experts than there are", (*sample, "max_experts"), 3, False
    yield "no golden expert", (*sample, "max_experts"), 0, False
    yield "a golden tau above 1", (*sample, "tau"), 1.5, False


def _images() -> Iterator[ImageCase]:
    """Yield images of every kind that a port has to decode, and every way to resize."""
    draw = np.random.default_rng(0)

    def picture(height: int, width: int, channels: int = 3) -> npt.NDArray[np.uint8]:
        """Return something with edges, slopes and noise."""
        y, x = np.mgrid[:height, :width]
        planes = [(x * 5 + y * 3 + 70 * ((x // 5 + y // 7) % 2) + 40 * c) % 256 for c in range(channels)]
        noise = draw.integers(-20, 21, (height, width, channels))
        return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)

    def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
        stream = io.BytesIO()
        image.save(stream, form, **options)
        return stream.getvalue()

    def spec(size: Any, resize: Any, interpolation: Any = "bilinear") -> Preprocessing:
        third = (0.5, 0.5, 0.5)
        return Preprocessing(image_size=size, resize=resize, mean=third, std=third, interpolation=interpolation)

    def case(name: str, image: bytes, how: Preprocessing, within: int = 0) -> ImageCase:
        return ImageCase(name=name, image=image, spec=how, pixels=pixels(image, how).tobytes(), within=within)

    wide, tall = (saved(Image.fromarray(picture(*size))) for size in ((45, 70), (83, 31)))
    for interpolation in ("nearest", "bilinear", "bicubic"):
        yield case(f"wide, {interpolation}, smaller", wide, spec(16, 20, interpolation))
        yield case(f"tall, {interpolation}, larger", tall, spec((40, 36), 47, interpolation))
        yield case(f"squashed, {interpolation}", wide, spec((12, 20), (13, 23), interpolation))
    yield case("nothing to do", saved(Image.fromarray(picture(16, 16))), spec(16, 16))
    yield case("cut alone, half a pixel to the even side", saved(Image.fromarray(picture(19, 21))), spec(16, 19))
    yield case("one pixel", saved(Image.fromarray(picture(1, 1))), spec(8, 8, "bicubic"))
    yield case("a line", saved(Image.fromarray(picture(1, 90))), spec(8, 9))
    yield case("grey", saved(Image.fromarray(picture(20, 30, 1)[..., 0])), spec(12, 14))
    yield case("a palette", saved(Image.fromarray(picture(20, 30)).quantize(16)), spec(12, 14))
    yield case("black and white", saved(Image.fromarray(picture(20, 30, 1)[..., 0]).convert("1")), spec(12, 14))
    yield case("transparent: on white", saved(Image.fromarray(picture(20, 30, 4))), spec(12, 14), 1)
    deep = (picture(20, 30, 1)[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    yield case("16 bits", saved(Image.fromarray(deep)), spec(12, 14), 1)
    photo = Image.fromarray(picture(60, 40))
    yield case("JPEG", saved(photo, "JPEG", quality=90), spec(24, 28), 1)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned by 90 degrees
    yield case("JPEG that lies on its side", saved(photo, "JPEG", quality=90, exif=turned), spec((20, 30), 30), 1)
    yield case("WebP", saved(photo, "WEBP", lossless=True), spec(24, 28))
