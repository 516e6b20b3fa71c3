"""The packages that the native runner for Arm is made from, pinned.

Those of Debian 12: to move to later ones, `apt-get download --print-uris NAME` prints path, size and digest.
"""

from __future__ import annotations

from edge_moe.benchmarks.fetch import Deb, Wheel

__all__ = ["COMPILER", "CROSS", "EXECUTORCH", "LITERT", "ONNXRUNTIME"]

# The C and C++ libraries of Arm programs.
CROSS = (
    Deb(
        path="debian/pool/main/c/cross-toolchain-base/libc6-arm64-cross_2.36-8cross1_all.deb",
        size_bytes=1004648,
        sha256="91936cbbee75771c360ed16513f6e734a25ca5517fe7c3e13dfd7835d7553186",
        files=(
            "ld-linux-aarch64.so.1",
            "libc.so.6",
            "libm.so.6",
            "libdl.so.2",
            "libpthread.so.0",
            "librt.so.1",
        ),
    ),
    Deb(
        path="debian/pool/main/g/gcc-12-cross/libstdc%2b%2b6-arm64-cross_12.2.0-14cross1_all.deb",
        size_bytes=513672,
        sha256="9cba984b64d0cf11698978fc5e0fe93c7441d29b9f42f70f1c6c734cc9e2ea41",
        files=("libstdc++.so.6",),
    ),
    Deb(
        path="debian/pool/main/g/gcc-12-cross/libgcc-s1-arm64-cross_12.2.0-14cross1_all.deb",
        size_bytes=34832,
        sha256="af1e686fc6a416228222e7bfb68317dd2fa2685236301ae29141fc6108a66cac",
        files=("libgcc_s.so.1",),
    ),
)
LITERT = Wheel(
    name="ai-edge-litert",
    version="2.3.0",
    platform="manylinux_2_27_aarch64",
    size_bytes=14379387,
    sha256="853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae",
)
ONNXRUNTIME = Wheel(
    name="onnxruntime",
    version="1.31.0",
    platform="manylinux_2_28_aarch64",
    size_bytes=21413529,
    sha256="37c7dfe398550afdf9670a29315dbb88e49d8afc473ffaf1f410376efbb9c80a",
)
# The first release whose wheel has what is needed without Python and torch; it runs the programs of 1.4.
EXECUTORCH = Wheel(
    name="executorch",
    version="1.5.1",
    platform="manylinux_2_28_aarch64",
    size_bytes=17810491,
    sha256="8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a",
)
# Zig's C compiler, which needs nothing of the system that it runs on and makes programs for any.
COMPILER = Wheel(
    name="ziglang",
    version="0.17.1",
    platform="manylinux_2_12_x86_64",
    size_bytes=101083562,
    sha256="ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54",
)
