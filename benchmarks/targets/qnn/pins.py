"""What Qualcomm's tools are brought from, pinned.

The wheel's libraries know nothing of Python: that for CPython 3.11 serves every Python. `pip download` of a later
version, and `sha256sum`, give the next pin.
"""

from __future__ import annotations

from edge_moe.benchmarks.fetch import Wheel

__all__ = ["LIBRARIES", "LICENCE", "QAIRT", "WHEEL"]

WHEEL = Wheel(
    name="onnxruntime-qnn",
    version="2.7.0",
    platform="manylinux_2_35_x86_64",
    size_bytes=98_578_793,
    sha256="c56c01562b8534fe8980cfea4601408d950c065f8251fb862ce82101c52c9849",
)
QAIRT = "2.51.0"  # Qualcomm's own libraries in it, as libQnnHtp.so names itself

_PACKAGE = "onnxruntime_qnn"
# Name here -> path in the wheel.
LICENCE = {
    name: f"{_PACKAGE}/{name}" for name in ("Qualcomm_LICENSE.pdf", "LICENSE", "ThirdPartyNotices.txt", "Privacy.md")
}
# The plug-in for ONNX Runtime, the HTP with its simulator, what both read models by, and a C++ library. They look for
# each other by these places.
LIBRARIES = {
    f"{_PACKAGE}/{name}": f"{_PACKAGE}/{name}"
    for name in ("libonnxruntime_providers_qnn.so", "libQnnHtp.so", "libQnnSystem.so")
} | {f"{_PACKAGE}.libs": f"{_PACKAGE}.libs/"}
