"""The packages that the emulated cores are brought from, pinned.

Of Debian 12: to move to later ones, `apt-get download --print-uris NAME` prints path, size and digest.
"""

from __future__ import annotations

from edge_moe.benchmarks.fetch import Deb, Wheel

__all__ = ["COMPILER", "CROSS", "EXECUTORCH", "LITERT", "ONNXRUNTIME", "QEMU"]

# The emulator for AArch64 programs, with every library that it loads.
QEMU = (
    Deb(
        path="debian/pool/main/q/qemu/qemu-user_7.2%2bdfsg-7%2bdeb12u18%2bb3_amd64.deb",
        size_bytes=12251508,
        sha256="02a7d6a2675a12dd7fdd474924295552470c0c933e0b543975887f493a84219f",
        files=("qemu-aarch64",),
    ),
    Deb(
        path="debian/pool/main/g/glibc/libc6_2.36-9%2bdeb12u14_amd64.deb",
        size_bytes=2759320,
        sha256="ba4f88f73dbc3ae9055f3c20f4523bfdbaf1ad13ff95e258924f77d20b4fbedf",
        files=(
            "ld-linux-x86-64.so.2",
            "libc.so.6",
            "libm.so.6",
            "libpthread.so.0",
            "libdl.so.2",
            "librt.so.1",
        ),
    ),
    Deb(
        path="debian/pool/main/z/zlib/zlib1g_1.2.13.dfsg-1_amd64.deb",
        size_bytes=86684,
        sha256="d7dd1d1411fedf27f5e27650a6eff20ef294077b568f4c8c5e51466dc7c08ce4",
        files=("libz.so.1",),
    ),
    Deb(
        path="debian/pool/main/c/capstone/libcapstone4_4.0.2-5_amd64.deb",
        size_bytes=569084,
        sha256="41277f0388184f6e3b9fc02eda3184afbc999314b25b77ed75e8049428bdfe5e",
        files=("libcapstone.so.4",),
    ),
    Deb(
        path="debian/pool/main/n/numactl/libnuma1_2.0.16-1_amd64.deb",
        size_bytes=20964,
        sha256="639e1ab6bd66ead40db8a22c332d7199679fa22db261cac34444eb8eb4c17dda",
        files=("libnuma.so.1",),
    ),
    Deb(
        path="debian/pool/main/libu/liburing/liburing2_2.3-3_amd64.deb",
        size_bytes=12572,
        sha256="c23077e3640e6cb4b819c134b3f41d5cf21b3edac099654b1b4142c3069a39a3",
        files=("liburing.so.2",),
    ),
    Deb(
        path="debian/pool/main/g/glib2.0/libglib2.0-0_2.74.6-2%2bdeb12u9_amd64.deb",
        size_bytes=1403216,
        sha256="7ff85197685d89e150e342b29a59aab1beee400050ba7da73de81cd999ffee5a",
        files=(
            "libglib-2.0.so.0",
            "libgmodule-2.0.so.0",
        ),
    ),
    Deb(
        path="debian/pool/main/g/gnutls28/libgnutls30_3.7.9-2%2bdeb12u7_amd64.deb",
        size_bytes=1409084,
        sha256="30abec8c824feb1d2d7e9000a34083cccd19d139625e1b21547e3ac53b922f8e",
        files=("libgnutls.so.30",),
    ),
    Deb(
        path="debian/pool/main/g/gcc-12/libgcc-s1_12.2.0-14%2bdeb12u1_amd64.deb",
        size_bytes=49856,
        sha256="3016e62cb4b7cd8038822870601f5ed131befe942774d0f745622cc77d8a88f7",
        files=("libgcc_s.so.1",),
    ),
    Deb(
        path="debian-security/pool/updates/main/p/pcre2/libpcre2-8-0_10.42-1%2bdeb12u2_amd64.deb",
        size_bytes=261628,
        sha256="d2f7edfcc7689b9e0761c2742cc824ac86a20768bc5e8057818dc6875291fe76",
        files=("libpcre2-8.so.0",),
    ),
    Deb(
        path="debian/pool/main/p/p11-kit/libp11-kit0_0.24.1-2_amd64.deb",
        size_bytes=345080,
        sha256="251330faddbf013f060fcdb41f4b0c037c8a6e89ba7c09b04bfcc4e3f0807b22",
        files=("libp11-kit.so.0",),
    ),
    Deb(
        path="debian/pool/main/libi/libidn2/libidn2-0_2.3.3-1%2bb1_amd64.deb",
        size_bytes=123636,
        sha256="d50716d5824083d667427817d506b45d3f59dc77e1ca52de000f3f62d4918afa",
        files=("libidn2.so.0",),
    ),
    Deb(
        path="debian/pool/main/libu/libunistring/libunistring2_1.0-2_amd64.deb",
        size_bytes=436708,
        sha256="d466bbfe011d764d793c1d9d777cad9c7cf65b938e11598f27408171ad95a951",
        files=("libunistring.so.2",),
    ),
    Deb(
        path="debian/pool/main/libt/libtasn1-6/libtasn1-6_4.19.0-2%2bdeb12u1_amd64.deb",
        size_bytes=48596,
        sha256="2c27c613b69be248d09432839ea3d3382f6ee27fabaa65987aa2d884cd00afda",
        files=("libtasn1.so.6",),
    ),
    Deb(
        path="debian/pool/main/n/nettle/libnettle8_3.8.1-2_amd64.deb",
        size_bytes=287764,
        sha256="45922e6e289ffd92f0f92d2bb9159e84236ff202d552a461bf10e5335b3f0261",
        files=("libnettle.so.8",),
    ),
    Deb(
        path="debian/pool/main/n/nettle/libhogweed6_3.8.1-2_amd64.deb",
        size_bytes=327524,
        sha256="ed8185c28b2cb519744a5a462dcd720d3b332c9b88a1d0002eac06dc8550cb94",
        files=("libhogweed.so.6",),
    ),
    Deb(
        path="debian/pool/main/g/gmp/libgmp10_6.2.1%2bdfsg1-1.1_amd64.deb",
        size_bytes=562588,
        sha256="187aedef2ed763f425c1e523753b9719677633c7eede660401739e9c893482bd",
        files=("libgmp.so.10",),
    ),
    Deb(
        path="debian/pool/main/libf/libffi/libffi8_3.4.4-1_amd64.deb",
        size_bytes=22856,
        sha256="6d9f6c25c30efccce6d4bceaa48ea86c329a3432abb360a141f76ac223a4c34a",
        files=("libffi.so.8",),
    ),
)
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
