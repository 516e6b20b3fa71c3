"""How the native runner for Arm is made: the backends' own Arm libraries, a C library for Arm, and a compiler.

Everything is pinned, brought from Debian and PyPI, and unpacked into a folder of the user's; nothing is installed. The
compiler is one package for any Linux, and is not kept. What is made runs on an emulated core and on phones.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_moe.benchmarks import runner
from edge_moe.benchmarks.fetch import Wheel, unpack, unzip
from edge_moe.benchmarks.runner import pins
from edge_moe.benchmarks.set_up import HALF, Item, SetUp
from edge_moe.errors import BackendError
from edge_moe.records import sha256

__all__ = [
    "ARM",
    "LOADER",
    "NATIVE",
    "RUNNER",
    "Compiler",
    "Native",
    "NativeSetUp",
    "bring_libraries",
    "item",
    "sources",
    "unsupported",
]

RUNNER = "runner"
ARM, LOADER = "aarch64-linux-gnu.2.34", "ld-linux-aarch64.so.1"
_SOURCES = Path(runner.__file__).parent
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


class Compiler:
    """Zig's C compiler in a folder that goes."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where it was unpacked."""
        self.folder = folder

    def compile(self, language: str, target: str, out: Path, arguments: Sequence[str | Path]) -> None:
        """Compile; `language` is cc or c++, `target` as zig has it.

        Raises:
            BackendError: it does not compile.
        """
        command = [self.folder / "zig", language, "-target", target, *_STRICT, "-o", out, *arguments]
        caches = {f"ZIG_{kind}_CACHE_DIR": str(self.folder / "cache") for kind in ("LOCAL", "GLOBAL")}
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=caches)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
            raise BackendError(f"{out.name} cannot be compiled: {said}; report this")


class NativeSetUp(SetUp):
    """Folders that all have who run the native runner: one a backend, and the runner."""

    compiled_from: Sequence[Path] = ()  # folders of more sources

    def native_items(self) -> tuple[Item, ...]:
        """Return the items of these folders; backends before the runner, which is linked with some."""
        made_from = (pins.COMPILER, sources(_SOURCES, *self.compiled_from), _STRICT)
        return (
            *(
                item(name, one.wheel.version, one.wheel.size_bytes, (one.wheel, one.members))
                for name, one in NATIVE.items()
            ),
            item(RUNNER, "of this edge-moe", pins.COMPILER.size_bytes, made_from),
        )

    def bring(self, item: Item, folder: Path) -> None:
        """Fetch and unpack, or compile."""
        if item.name == RUNNER:
            self._compile(folder)
        else:
            native = NATIVE[item.name]
            unzip(native.wheel.fetch(), native.members, folder)

    def compile_more(self, compiler: Compiler, folder: Path) -> None:
        """Compile what else belongs to the runner."""

    def _compile(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".compiler.", suffix=HALF) as name:  # half a GB
            compiler = Compiler(Path(name))
            unzip(pins.COMPILER.fetch(), {".": "ziglang/"}, compiler.folder)
            (compiler.folder / "zig").chmod(0o755)
            self.compile_more(compiler, folder)
            for backend, one in NATIVE.items():
                there, made = self.folder / backend, compiler.folder / f"{backend}.o"
                flags = [flag.format(there=there) for flag in one.flags]
                language = "c++" if one.source.endswith(".cpp") else "cc"
                compiler.compile(language, ARM, made, ["-c", _SOURCES / one.source, *flags])
                files = [_SOURCES / "main.c", made, *(there / name for name in one.linked)]
                compiler.compile("cc", ARM, folder / f"runner-{backend}", [*files, "-s", "-ldl"])


def unsupported(what: str, todo: str) -> str:
    """Return why this machine cannot make it, in words; nothing where it can. `what`: begins the sentence."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return ""
    return f"{what} Linux on x86-64, and this is {platform.system()} {platform.machine()}; {todo}"


def bring_libraries(folder: Path) -> None:
    """Write the C and C++ libraries of Arm programs, and their loader."""
    for deb in pins.CROSS:
        unpack(deb.fetch(), deb.files, folder)


def sources(*folders: Path) -> dict[str, str]:
    """Return the digests of sources, by their names."""
    files = sorted(file for folder in folders for file in folder.iterdir() if file.suffix in _SUFFIXES)
    return {file.name: sha256(file.read_bytes()) for file in files}


def item(name: str, version: str, size: int, made_from: object) -> Item:
    """Return an item that is made from anything that JSON can hold."""
    return Item(name=name, version=version, bytes=size, made_from=sha256(msgspec.json.encode(made_from)))
