"""Tensors in an .npz: what comes back, and what is refused before room is made for it."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from edge_moe import BundleError
from edge_moe.npz import pack, unpack
from tests import fixed


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return stream.getvalue()


def array(shape, content=b"", descr="'<f4'"):
    """Return an .npy that says that it has this shape."""
    line = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + content


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_packed_comes_back(compressed):
    tensors = {
        "00/base.logits": fixed.uniform(0, 1, 5),
        "columns": np.asfortranarray(fixed.uniform(1, 3, 4)),
        "one": np.float32(3).reshape(()),
        "none": np.zeros((0, 4), np.float32),
        "whole": np.arange(3),
    }
    found = unpack(pack(tensors, compressed=compressed), "it is none")
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype
        assert found[name].flags.writeable


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"nothing", "File is not a zip file"),
        (zipped(a=b"no array"), "the magic string is not correct"),
        (zipped(a=array("(1073741824, 1073741824)")), "has 0 numbers, but says that it has the shape"),
        (zipped(a=array("(1,)", bytes(8), "'|O'")), "holds objects"),
        (zipped(a=array("(2,)", bytes(4))), "has 1 numbers, but"),
        (zipped(a=array("(-1,)", bytes(4))), "has 1 numbers, but"),
        (zipped(a=array("(", bytes(4))), "^it is none: "),
        (zipped(a=b"\x93NUMPY\x09\x00" + bytes(200)), "^it is none: "),
        (zipped(a=bytes(300 << 20)), "unpacked it has 314,572,800 bytes, expected at most 268,435,456"),
    ],
)
def test_what_is_refused(data, message):
    assert len(data) < 1 << 20
    with pytest.raises(BundleError, match=message) as caught:
        unpack(data, "it is none")
    assert str(caught.value).startswith("it is none: ")


def test_a_member_that_unpacks_to_more_than_it_says():
    data = bytearray(zipped(a=bytes(1000)))
    place = data.rindex((1000).to_bytes(4, "little"))  # in the directory at the end
    data[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(BundleError, match=r"^it is none: "):
        unpack(bytes(data), "it is none")
