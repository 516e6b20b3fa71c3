"""The table of formats: Pillow decodes what is in it and nothing else, and the documentation says the same."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, features

from edge_moe import formats
from edge_moe.data import open_data
from edge_moe.decode import load_image
from edge_moe.errors import DataError
from edge_moe.formats import FORMATS, IMAGE_SUFFIXES

ROOT = Path(__file__).parent.parent
PIXELS = np.full((16, 16, 3), (200, 100, 50), np.uint8)


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_every_suffix_is_read_and_listed(one: formats.ImageFormat, tmp_path: Path) -> None:
    if one.name not in formats.openable():
        pytest.skip("not in this build of Pillow")
    for suffix in one.suffixes:
        file = tmp_path / "colour" / f"image{suffix.upper()}"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(file, one.name)
        found = np.asarray(load_image(file), np.int16)
        assert found.shape == PIXELS.shape
        assert np.abs(found - PIXELS).max() <= (40 if one.name == "GIF" else 6)
    assert len(open_data(tmp_path, "val")) == len(one.suffixes)


def test_suffixes_are_those_of_pillow_and_of_one_format() -> None:
    Image.init()
    known = Image.registered_extensions()
    assert len(set(IMAGE_SUFFIXES)) == len(IMAGE_SUFFIXES)
    for one in FORMATS:
        for suffix in one.suffixes:
            assert known[suffix] == one.name


def test_a_camera_s_jpeg_of_several_pictures_is_a_jpeg(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.fromarray(PIXELS)])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
    assert load_image(tmp_path / "a.jpg").size == (16, 16)


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n",
        b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #000000", "a"};\n',
        b"SIMPLE  =                    T" + b" " * 50 + b"END",
    ],
)
def test_other_formats_of_pillow_are_not_even_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    Image.init()
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (tmp_path / "harmless.jpg").write_bytes(data)
    with pytest.raises(DataError, match=r"harmless\.jpg is not an image; expected an image"):
        load_image(tmp_path / "harmless.jpg")


def test_a_format_that_this_pillow_was_built_without_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.webp")
    formats.openable.cache_clear()
    with monkeypatch.context() as without:
        without.setattr(features, "check", lambda feature: feature != "webp")
        assert "WEBP" not in formats.openable()
        with pytest.raises(DataError, match=r"a\.webp is WEBP, which the installed Pillow was built without; update"):
            load_image(tmp_path / "a.webp")
    formats.openable.cache_clear()
    assert load_image(tmp_path / "a.webp").size == (16, 16)


def test_a_pillow_that_does_not_know_a_format(monkeypatch: pytest.MonkeyPatch) -> None:
    older = {name: module for name, module in features.modules.items() if name != "avif"}
    monkeypatch.setattr(features, "modules", older)
    formats.openable.cache_clear()
    monkeypatch.setattr(formats.importlib, "import_module", _without_avif)
    assert "AVIF" not in formats.openable()
    assert "PNG" in formats.openable()
    formats.openable.cache_clear()


def _without_avif(name: str) -> None:
    if "Avif" in name:
        raise ModuleNotFoundError(name)


def test_the_documentation_has_the_table() -> None:
    rows = re.findall(r"^\| (\w+) \| (`\..*?) \|", (ROOT / "docs/images.md").read_text(), re.MULTILINE)
    assert {name: tuple(re.findall(r"`(\.\w+)`", cell)) for name, cell in rows} == {
        one.name: one.suffixes for one in FORMATS
    }
