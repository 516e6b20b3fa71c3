"""What is fuzzed: how a mutant comes about, and who has to take or refuse it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz import mutants

_DATA = Path(__file__).parents[1] / "data"

# Draws a mutant, and returns its bytes and what reads them, from the file that they were written to.
Kind = Callable[[Path], tuple[Callable[[np.random.Generator], bytes], Callable[[Path], object]]]


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _pictures() -> list[bytes]:
    """A small image of every kind: those that are read, and those that are not and may be called .jpg."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    grey, alpha, deep = (
        rgb.convert("L"),
        rgb.convert("RGBA"),
        Image.fromarray(np.arange(221, dtype=np.uint16).reshape(13, 17)),
    )
    palette, two = rgb.quantize(16), [rgb, rgb.rotate(180)]
    exif = Image.Exif()
    exif[0x0112] = 6
    found = [_saved(one, "PNG") for one in (rgb, grey, alpha, deep, palette, rgb.convert("1"), grey.convert("LA"))]
    found += [
        _saved(rgb, "PNG", save_all=True, append_images=two),
        _saved(rgb, "GIF", save_all=True, append_images=two),
    ]
    found += [_saved(one, "JPEG", exif=exif) for one in (rgb, grey, rgb.convert("CMYK"))]
    found += [_saved(rgb, "JPEG", progressive=True), _saved(rgb, "WEBP"), _saved(alpha, "WEBP", lossless=True)]
    found += [_saved(rgb, "TIFF", compression=how) for how in (None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    found += [_saved(one, "TIFF") for one in (grey, alpha, deep, rgb.convert("CMYK"), rgb.convert("1"))]
    found += [_saved(one, "BMP") for one in (rgb, grey, palette)]
    found += [_saved(one, "PPM") for one in (rgb, grey, rgb.convert("1"))]
    found += [
        b"P2 3 2 255\n1 2 3\n4 5 6\n",
        b"P3 1 2 9\n1 2 3 4 5 6\n",
        b"P5 2 2 65535\n" + bytes(8),
        b"Pf 1 1 -1\n" + bytes(4),
    ]
    found += [_saved(rgb, "JPEG2000"), _saved(grey, "JPEG2000"), _saved(rgb, "AVIF")]
    found += [
        _saved(rgb, form) for form in ("DDS", "EPS", "SGI", "SPIDER", "IM", "ICO", "PCX", "TGA", "MSP") if _can(form)
    ]
    return [*found, _saved(rgb.convert("1"), "XBM"), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"]


def _can(form: str) -> bool:
    try:
        _saved(Image.new("RGB", (2, 2)), form)
    except (KeyError, OSError, ValueError):
        return False
    return True


def images(folder: Path) -> tuple[Callable[[np.random.Generator], bytes], Callable[[Path], object]]:
    """Image files under a name that says nothing of their kind."""
    from edge_moe.bundle import Preprocessing
    from edge_moe.preprocess import prepare

    pictures = _pictures()
    spec = Preprocessing(image_size=8, resize=9, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return (
        lambda rng: mutants.bytes_of(rng, pictures[int(rng.integers(0, len(pictures)))]),
        lambda file: prepare(file, spec),
    )


def manifests(folder: Path) -> tuple[Callable[[np.random.Generator], bytes], Callable[[Path], object]]:
    """Either of a bundle's two JSON files, and what opening it reads of the golden samples."""
    from edge_moe.bundle import Bundle

    bundle = folder / "bundle"
    shutil.copytree(_DATA / "job" / "bundle", bundle)
    sound = {name: (bundle / name).read_bytes() for name in ("manifest.json", "operating.json")}
    raw = {name: json.loads(data) for name, data in sound.items()}
    names = list(sound)

    def mutant(rng: np.random.Generator) -> bytes:
        which = names[int(rng.random() < 0.3)]
        return which.encode() + b"\n" + mutants.json_of(rng, raw[which])

    def read(file: Path) -> None:
        which, _, data = file.read_bytes().partition(b"\n")
        for name in names:
            (bundle / name).write_bytes(data if name == which.decode() else sound[name])
        opened = Bundle(bundle)
        for one in opened.manifest.sets:
            opened.golden(one)

    return mutant, read


def results(folder: Path) -> tuple[Callable[[np.random.Generator], bytes], Callable[[Path], object]]:
    """Results of a benchmark, and the tables that a report makes of them."""
    from edge_moe.benchmarks.report.sections import collect
    from edge_moe.benchmarks.results import load

    raw = json.loads((_DATA / "one_run" / "results.json").read_bytes())
    return (lambda rng: mutants.json_of(rng, raw)), (lambda file: collect([load(file)]))


def checkpoints(folder: Path) -> tuple[Callable[[np.random.Generator], bytes], Callable[[Path], object]]:
    """A checkpoint's config, its weights, and a file of weights as torch.save writes one."""
    import torch

    from edge_moe.training.checkpoint import load_checkpoint
    from edge_moe.training.weights import read_weights

    checkpoint = folder / "checkpoint"
    shutil.copytree(_DATA / "checkpoint-schema-1", checkpoint)
    sound = {file.name: file.read_bytes() for file in sorted(checkpoint.iterdir()) if file.is_file()}
    raw = json.loads(sound["config.json"])
    stream = io.BytesIO()
    torch.save({"state_dict": {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}}, stream)
    saved, names = stream.getvalue(), [name for name in sound if name != "config.json"]

    def mutant(rng: np.random.Generator) -> bytes:
        match rng.integers(0, 4):
            case 0:
                return b"weights.pth\n" + mutants.bytes_of(rng, saved)
            case 1:
                name = names[int(rng.integers(0, len(names)))]
                return name.encode() + b"\n" + mutants.bytes_of(rng, sound[name])
        return b"config.json\n" + mutants.json_of(rng, raw)

    def read(file: Path) -> None:
        which, _, data = file.read_bytes().partition(b"\n")
        for name, content in sound.items():
            (checkpoint / name).write_bytes(content)
        (checkpoint / which.decode()).write_bytes(data)
        if which == b"weights.pth":
            read_weights(checkpoint / "weights.pth")
        else:
            load_checkpoint(checkpoint)

    return mutant, read


KINDS: dict[str, Kind] = {one.__name__: one for one in (images, manifests, results, checkpoints)}
