"""What the emulated cores need: an emulator, a C library for Arm, the backends' own Arm binaries, and our runner.

Everything is pinned, brought from Debian and PyPI, and unpacked into a folder of the user's; nothing is installed. The
compiler is one package for any Linux, and is not kept.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_moe.benchmarks import runner
from edge_moe.benchmarks.fetch import Wheel, unpack, unzip
from edge_moe.benchmarks.set_up import HALF, Item, SetUp
from edge_moe.benchmarks.targets.arm import pins
from edge_moe.benchmarks.targets.arm.cores import CORES
from edge_moe.errors import BackendError
from edge_moe.records import sha256

__all__ = ["COUNTS", "EMULATOR", "NATIVE", "ROOT", "RUNNER", "STILL", "ArmSetUp", "Native"]

EMULATOR, ROOT, RUNNER, COUNTS, STILL = "emulator", "root", "runner", "counts.so", "still.so"
_SOURCES, _HERE = Path(runner.__file__).parent, Path(__file__).parent
_GUEST, _HOST = "aarch64-linux-gnu.2.34", "x86_64-linux-gnu.2.17"
_STRICT = ("-O2", "-Wall", "-Wextra", "-Werror")
_SUFFIXES = (".c", ".cpp", ".h")
_EXECUTORCH, _XNNPACK = ("libexecutorch.so", "libexecutorch_threadpool.so"), "libexecutorch_backend_xnnpack.so"


class Native(NamedTuple):
    """How artifacts of a backend are executed without Python."""

    words: str  # what executes them, with its version
    wheel: Wheel
    members: Mapping[str, str]  # file, or folder, in the set-up -> in the wheel
    library: str  # that the runner opens
    source: str  # of the runner's engine
    flags: Sequence[str] = ()  # it is compiled with; {there} is the folder with `members`
    linked: Sequence[str] = ()  # members that it is linked with


NATIVE = {
    "litert": Native(
        words=f"LiteRT {pins.LITERT.version} (libLiteRt)",
        wheel=pins.LITERT,
        members={"libLiteRt.so": "ai_edge_litert/libLiteRt.so"},
        library="libLiteRt.so",
        source="litert.c",
    ),
    "onnx": Native(
        words=f"ONNX Runtime {pins.ONNXRUNTIME.version} (libonnxruntime)",
        wheel=pins.ONNXRUNTIME,
        members={"libonnxruntime.so": f"onnxruntime/capi/libonnxruntime.so.{pins.ONNXRUNTIME.version}"},
        library="libonnxruntime.so",
        source="onnx.c",
    ),
    # Compiled by itself: the C++ library that the compiler would link is another than that of ExecuTorch.
    "executorch": Native(
        words=f"ExecuTorch {pins.EXECUTORCH.version} (libexecutorch)",
        wheel=pins.EXECUTORCH,
        members={
            **{name: f"executorch/lib/{name}" for name in (*_EXECUTORCH, _XNNPACK)},
            "include": "executorch/include/",
        },
        library=_XNNPACK,
        source="executorch.cpp",
        flags=(
            *("-std=c++17", "-fno-exceptions", "-fno-rtti"),
            *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED"),
            *("-isystem", "{there}/include"),
            *("-isystem", "{there}/include/executorch/runtime/core/portable_type/c10"),
        ),
        linked=_EXECUTORCH,
    ),
}


class ArmSetUp(SetUp):
    """The folders: emulator, root of the cores, one a backend, and the runner."""

    def __init__(self, folder: Path) -> None:
        """See `SetUp`."""
        super().__init__(folder)
        self.items = (
            _item(EMULATOR, "QEMU 7.2", sum(deb.size_bytes for deb in pins.QEMU), pins.QEMU),
            _item(ROOT, "glibc 2.36", sum(deb.size_bytes for deb in pins.CROSS), (pins.CROSS, CORES)),
            *(
                _item(name, one.wheel.version, one.wheel.size_bytes, (one.wheel, one.members))
                for name, one in NATIVE.items()
            ),
            _item(RUNNER, "of this edge-moe", pins.COMPILER.size_bytes, (pins.COMPILER, _sources(), _STRICT)),
        )

    def bring(self, item: Item, folder: Path) -> None:
        """Fetch and unpack, or compile."""
        if item.name == EMULATOR:
            for deb in pins.QEMU:
                unpack(deb.fetch(), deb.files, folder)
        elif item.name == ROOT:
            self._bring_root(folder)
        elif item.name == RUNNER:
            self._compile(folder)
        else:
            native = NATIVE[item.name]
            unzip(native.wheel.fetch(), native.members, folder)

    def _bring_root(self, folder: Path) -> None:
        """Make a root folder for each core, which differ in what the system tells of it."""
        for deb in pins.CROSS:
            unpack(deb.fetch(), deb.files, folder / "lib")
        for name, core in CORES.items():
            for file, content in core.system_files.items():
                (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / file).write_text(content)
            (folder / name / "lib").symlink_to("../lib")

    def _compile(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".compiler.", suffix=HALF) as name:  # half a GB
            compiler = Path(name)
            unzip(pins.COMPILER.fetch(), {".": "ziglang/"}, compiler)
            (compiler / "zig").chmod(0o755)
            library = ("-s", "-shared", "-fPIC")
            plugin = (*library, "-Wl,-undefined,dynamic_lookup")  # what it calls is in the emulator
            _compile(compiler, "cc", _HOST, folder / COUNTS, [_HERE / "counts.c", *plugin])
            _compile(compiler, "cc", _GUEST, folder / STILL, [_HERE / "still.c", *library])
            for backend, one in NATIVE.items():
                there, made = self.folder / backend, compiler / f"{backend}.o"
                flags = [flag.format(there=there) for flag in one.flags]
                language = "c++" if one.source.endswith(".cpp") else "cc"
                _compile(compiler, language, _GUEST, made, ["-c", _SOURCES / one.source, *flags])
                files = [_SOURCES / "main.c", made, *(there / name for name in one.linked)]
                _compile(compiler, "cc", _GUEST, folder / f"runner-{backend}", [*files, "-s", "-ldl"])


def _compile(folder: Path, language: str, target: str, out: Path, arguments: Sequence[str | Path]) -> None:
    command = [folder / "zig", language, "-target", target, *_STRICT, "-o", out, *arguments]
    caches = {f"ZIG_{kind}_CACHE_DIR": str(folder / "cache") for kind in ("LOCAL", "GLOBAL")}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=caches)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise BackendError(f"{out.name} cannot be compiled: {said}; report this")


def _sources() -> dict[str, str]:
    files = sorted(file for folder in (_SOURCES, _HERE) for file in folder.iterdir() if file.suffix in _SUFFIXES)
    return {file.name: sha256(file.read_bytes()) for file in files}


def _item(name: str, version: str, size: int, made_from: object) -> Item:
    return Item(name=name, version=version, bytes=size, made_from=sha256(msgspec.json.encode(made_from)))
