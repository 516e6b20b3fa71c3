"""The packages that the phone is brought from, pinned: adbd is of Debian 12's backports, all else of Debian 12.

mksh is Android's shell, toybox has its commands, and busybox a few more. The emulator's packages bring the C library
and zlib.
"""

from __future__ import annotations

from edge_moe.benchmarks.fetch import Deb

__all__ = ["LIBRARIES", "PROGRAMS"]

PROGRAMS = (
    Deb(
        path="debian/pool/main/a/android-platform-tools/adbd_34.0.5-12~bpo12%2b1_amd64.deb",
        size_bytes=171840,
        sha256="ef38358c033302491d436cd7da5e0cfb47944974d0e4c0cd707a067d49d7bf43",
        files=("usr/lib/android-sdk/platform-tools/adbd",),
    ),
    Deb(
        path="debian/pool/main/m/mksh/mksh_59c-28%2bdeb12u1_amd64.deb",
        size_bytes=573792,
        sha256="32bcf95c03b4438a1adcaf989f844ebe542229f07b8b438d8bc3d9ec2b32d43c",
        files=("bin/mksh",),
    ),
    Deb(
        path="debian/pool/main/t/toybox/toybox_0.8.9%2bdfsg-1_amd64.deb",
        size_bytes=2703120,
        sha256="205566740aebc33d20cc061278da8ee444bfa4a93ce6225284851eb66e131ee5",
        files=("bin/toybox",),
    ),
    Deb(
        path="debian/pool/main/b/busybox/busybox-static_1.35.0-4%2bdeb12u1%2bb1_amd64.deb",
        size_bytes=928188,
        sha256="3d3fdbe91d4660c873e14b092c213fe81c1da6362daa236eb25d0171eb108744",
        files=("bin/busybox",),
    ),
)
LIBRARIES = (
    Deb(
        path="debian/pool/main/a/android-platform-tools/android-libbase_34.0.5-12~bpo12%2b1_amd64.deb",
        size_bytes=101508,
        sha256="eea8bd26bbfe7c720f312fa9cb54bcdd5c31edda2277e9c5ffbb3611b20d6cd6",
        files=("libbase.so.0",),
    ),
    Deb(
        path="debian/pool/main/a/android-platform-external-boringssl/android-libboringssl_14.0.0%2br45-2~bpo12%2b1_amd64.deb",
        size_bytes=685932,
        sha256="e9634a0990aa4b50cb4102d259bb692b996b4bfd62a3f87d4a9d38a70eeed8e9",
        files=("libcrypto.so.0", "libssl.so.0"),
    ),
    Deb(
        path="debian/pool/main/a/android-platform-tools/android-libcutils_34.0.5-12~bpo12%2b1_amd64.deb",
        size_bytes=41100,
        sha256="c11dae3ded2fae22b33458ccc80b45fad7aa1913d295443d6553b37958282c99",
        files=("libcutils.so.0",),
    ),
    Deb(
        path="debian/pool/main/a/android-platform-tools/android-liblog_34.0.5-12~bpo12%2b1_amd64.deb",
        size_bytes=40252,
        sha256="0cf8ff85d342d120ac2e5d000d1f9b045ae7f83661e7a5004f6ab3a2299565a1",
        files=("liblog.so.0",),
    ),
    Deb(
        path="debian/pool/main/p/protobuf/libprotobuf32_3.21.12-3%2bdeb12u1_amd64.deb",
        size_bytes=931592,
        sha256="e9e4e8cf0d2c48e2e3c17308e2093b3856f470b77e0022b7d906fb1b3551f213",
        files=("libprotobuf.so.32",),
    ),
    Deb(
        path="debian/pool/main/b/brotli/libbrotli1_1.0.9-2%2bb6_amd64.deb",
        size_bytes=275248,
        sha256="563b4caec1aa5e876bd3355b36e7a38e1484baf5a293b48d1e8bd22db786e4d7",
        files=("libbrotlicommon.so.1", "libbrotlidec.so.1", "libbrotlienc.so.1"),
    ),
    Deb(
        path="debian/pool/main/l/lz4/liblz4-1_1.9.4-1_amd64.deb",
        size_bytes=62884,
        sha256="64cde86cef1deaf828bd60297839b59710b5cd8dc50efd4f12643caaee9389d3",
        files=("liblz4.so.1",),
    ),
    Deb(
        path="debian/pool/main/libz/libzstd/libzstd1_1.5.4%2bdfsg2-5_amd64.deb",
        size_bytes=290036,
        sha256="6315b5ac38b724a710fb96bf1042019398cb656718b1522279a5185ed39318fa",
        files=("libzstd.so.1",),
    ),
    Deb(
        path="debian/pool/main/s/systemd/libsystemd0_252.39-1~deb12u2_amd64.deb",
        size_bytes=332372,
        sha256="013c07514a9e4933b2d5c098018695a6aa42d085dbc483ce2c094a954c8a1b0a",
        files=("libsystemd.so.0",),
    ),
    Deb(
        path="debian/pool/main/g/gcc-12/libstdc%2b%2b6_12.2.0-14%2bdeb12u1_amd64.deb",
        size_bytes=612604,
        sha256="5cd3171216d4ab0fc911cfe9c35509bf2dd8f47761c43b7f6a4296701551a24d",
        files=("libstdc++.so.6",),
    ),
    Deb(
        path="debian/pool/main/libc/libcap2/libcap2_2.66-4%2bdeb12u3%2bb1_amd64.deb",
        size_bytes=27708,
        sha256="8d684c673e7483802a5c447834b0df6fce006eb3a7109e1be412f5ad425bb24f",
        files=("libcap.so.2",),
    ),
    Deb(
        path="debian/pool/main/libg/libgcrypt20/libgcrypt20_1.10.1-3%2bdeb12u1_amd64.deb",
        size_bytes=696204,
        sha256="e7a56552139c693904a6f9712234c05fe918353273a7cbdb5e62f423ad71bb97",
        files=("libgcrypt.so.20",),
    ),
    Deb(
        path="debian/pool/main/libg/libgpg-error/libgpg-error0_1.46-1_amd64.deb",
        size_bytes=76888,
        sha256="89944ee11d7370ce6ef46fc52f094c4a6512eff8943ec4c6ebefeae6360ceada",
        files=("libgpg-error.so.0",),
    ),
    Deb(
        path="debian/pool/main/x/xz-utils/liblzma5_5.4.1-1%2bdeb12u1_amd64.deb",
        size_bytes=205732,
        sha256="f96d8876b53ec89d76a992bc199679b818cf518225a768954d9451fb556a4eb7",
        files=("liblzma.so.5",),
    ),
    Deb(
        path="debian/pool/main/g/glibc/libc6_2.36-9%2bdeb12u14_amd64.deb",
        size_bytes=2759320,
        sha256="ba4f88f73dbc3ae9055f3c20f4523bfdbaf1ad13ff95e258924f77d20b4fbedf",
        files=("libresolv.so.2",),
    ),
    Deb(
        path="debian/pool/main/libx/libxcrypt/libcrypt1_4.4.33-2_amd64.deb",
        size_bytes=89464,
        sha256="f5f60a5cdfd4e4eaa9438ade5078a57741a7a78d659fcb0c701204f523e8bd29",
        files=("libcrypt.so.1",),
    ),
)
