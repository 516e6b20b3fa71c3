from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from edge_moe.benchmarks.studies import contact_sheet
from edge_moe.data import LabelledImages


def test_a_row_a_class_each_image_once():
    levels = [10, 20, 30, 40, 50]
    images = [np.full((4, 4, 3), level, np.uint8) for level in levels]
    data = LabelledImages("five", ("a", "b"), images, np.array([0, 1, 0, 0, 1]))
    sheet = np.array(contact_sheet.lay_out(data, 4, 3))
    assert sheet.shape == (9, 14, 3)
    assert {int(sheet[0, x, 0]) for x in (0, 5, 10)} == {10, 30, 40}
    assert {int(sheet[5, x, 0]) for x in (0, 5)} == {20, 50}
    assert (sheet[5:, 10:] == 255).all()
    assert (sheet[4] == 255).all()


def test_the_command(tmp_path, monkeypatch, capsys):
    out = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["x", "digits", "-o", str(out), "--columns", "2", "--size", "8"])
    contact_sheet.main()
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as sheet:
        assert sheet.size == (17, 89)
