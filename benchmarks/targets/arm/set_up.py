"""What the emulated cores need: an emulator, a root with a C library for Arm, the native runner, and what counts."""

from __future__ import annotations

from pathlib import Path

from edge_moe.benchmarks.fetch import unpack
from edge_moe.benchmarks.runner.native import ARM, Compiler, NativeSetUp, bring_libraries, item
from edge_moe.benchmarks.runner.pins import CROSS
from edge_moe.benchmarks.set_up import Item
from edge_moe.benchmarks.targets.arm import pins
from edge_moe.benchmarks.targets.arm.cores import CORES

__all__ = ["COUNTS", "EMULATOR", "ROOT", "STILL", "ArmSetUp"]

EMULATOR, ROOT, COUNTS, STILL = "emulator", "root", "counts.so", "still.so"
_HERE, _HOST = Path(__file__).parent, "x86_64-linux-gnu.2.17"


class ArmSetUp(NativeSetUp):
    """The folders: emulator, root of the cores, one a backend, and the runner."""

    compiled_from = (_HERE,)

    def __init__(self, folder: Path) -> None:
        """See `SetUp`."""
        super().__init__(folder)
        self.items = (
            item(EMULATOR, "QEMU 7.2", sum(deb.size_bytes for deb in pins.QEMU), pins.QEMU),
            item(ROOT, "glibc 2.36", sum(deb.size_bytes for deb in CROSS), (CROSS, CORES)),
            *self.native_items(),
        )

    def bring(self, item: Item, folder: Path) -> None:
        """Fetch and unpack, or compile."""
        if item.name == EMULATOR:
            for deb in pins.QEMU:
                unpack(deb.fetch(), deb.files, folder)
        elif item.name == ROOT:
            self._bring_root(folder)
        else:
            super().bring(item, folder)

    def compile_more(self, compiler: Compiler, folder: Path) -> None:
        """Compile the plugin that counts, and what lets time stand still."""
        library = ("-s", "-shared", "-fPIC")
        plugin = (*library, "-Wl,-undefined,dynamic_lookup")  # what it calls is in the emulator
        compiler.compile("cc", _HOST, folder / COUNTS, [_HERE / "counts.c", *plugin])
        compiler.compile("cc", ARM, folder / STILL, [_HERE / "still.c", *library])

    def _bring_root(self, folder: Path) -> None:
        """Make a root folder for each core, which differ in what the system tells of it."""
        bring_libraries(folder / "lib")
        for name, core in CORES.items():
            for file, content in core.system_files.items():
                (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / file).write_text(content)
            (folder / name / "lib").symlink_to("../lib")
