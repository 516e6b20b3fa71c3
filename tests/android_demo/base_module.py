"""The smallest base module of an app: no code, no resources, and a manifest in aapt2's proto format.

Written by hand, field by field: for Android's own attributes aapt2 would need an android.jar.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

ANDROID = "http://schemas.android.com/apk/res/android"
NUMBERS = {  # of attributes, from android.R.attr
    "versionCode": 0x0101021B,
    "hasCode": 0x0101000C,
    "minSdkVersion": 0x0101020C,
    "targetSdkVersion": 0x01010270,
}


def varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: str | int | bool) -> bytes:
    """An XmlAttribute; numbers and truths are android:NAME, and are there as Item.prim too."""
    if isinstance(value, str):
        return field(2, name) + field(3, value)
    text, where = (str(value).lower(), 8) if isinstance(value, bool) else (str(value), 6)
    item = field(7, field(where, int(value)))
    return field(1, ANDROID) + field(2, name) + field(3, text) + field(5, NUMBERS[name]) + field(6, item)


def element(name: str, attributes: dict[str, str | int | bool], *inside: bytes, declared: bytes = b"") -> bytes:
    """An XmlNode that is an XmlElement."""
    body = declared + field(3, name)
    body += b"".join(field(4, attribute(key, value)) for key, value in attributes.items())
    return field(1, body + b"".join(field(5, one) for one in inside))


def manifest(package: str = "org.edgemoe.test") -> bytes:
    return element(
        "manifest",
        {"package": package, "versionCode": 1},
        element("uses-sdk", {"minSdkVersion": 26, "targetSdkVersion": 35}),
        element("application", {"hasCode": False}),
        declared=field(1, field(1, "android") + field(2, ANDROID)),
    )


def write_base(file: Path, package: str = "org.edgemoe.test") -> Path:
    """Write the module as a .zip."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest/AndroidManifest.xml", manifest(package))
    return file
