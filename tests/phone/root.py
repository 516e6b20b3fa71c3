"""The root folder that the phone's programs see, built of mounts which end with their namespace.

Everything here runs as root of a user namespace that has nothing of the machine.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC = 1, 2, 4, 8, 32, 4096, 16384  # sys/mount.h
_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
# Where a phone looks for commands, Android 12; made-up ones stand in the first.
PATH = "/product/bin:/apex/com.android.runtime/bin:/system_ext/bin:/system/bin:/system/xbin:/odm/bin:/vendor/bin"
SHELL_UID = 2000  # AID_SHELL
_PASSWD = "root:x:0:0::/:/system/bin/sh\nshell:x:2000:2000::/:/system/bin/sh\n"
_GROUP = "root:x:0:\nshell:x:2000:\n"
_AARCH64 = (
    rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
)
_HERE = Path(__file__).parent
_LIBC = ctypes.CDLL(None, use_errno=True)


_VSOCK, _EAFNOSUPPORT, _SYS_SOCKET = 40, 97, 41  # linux/socket.h, errno.h; the call's number on x86-64


def mount(source: Path | str, target: Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    if _LIBC.mount(str(source).encode(), str(target).encode(), kind.encode(), flags, data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def show(source: Path, target: Path, *, writable: bool = False) -> None:
    """Let `target` be what `source` is; a folder of another's that is locked against more keeps its locks."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.touch()
    mount(source, target, flags=_BIND | _REC)
    if not writable:
        locked = os.statvfs(target).f_flag & (_NOSUID | _NODEV | _NOEXEC)
        mount("none", target, flags=_BIND | _REMOUNT | _RDONLY | locked)


def build(root: Path, *, system: Path, state: Path, disk_bytes: int, emulates: bool) -> None:
    """Build the root in `root`, an empty folder.

    `system`: what becomes /system. `state`: folder with what made-up commands read (/state), and in sys/ and proc/ with
    what lies over the machine's own. `emulates`: whether the kernel runs programs for AArch64.
    """
    mount("none", root, "tmpfs", data="mode=755")
    show(system, root / "system")
    show(_HERE / "android", root / "product/bin")
    if not emulates:
        show(_HERE / "old_kernel", root / "old_kernel")
        show(_HERE / "old_kernel/sh", root / "system/bin/sh")
    show(state, root / "state", writable=True)
    (root / "bin").symlink_to("system/bin")
    (root / "lib64").symlink_to("system/lib64")
    (root / "lib").mkdir()
    (root / "lib/x86_64-linux-gnu").symlink_to("../system/lib64")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text(_GROUP)
    tmp = root / "data/local/tmp"
    tmp.mkdir(parents=True)
    (root / "sdcard").mkdir()
    for disk in (tmp, root / "sdcard"):
        mount("none", disk, "tmpfs", data=f"mode=771,size={disk_bytes}")
    (root / "proc").mkdir()
    mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    show(state / "proc/cpuinfo", root / "proc/cpuinfo")
    (root / "sys").mkdir()
    for folder in ("devices/system/cpu", "class/thermal", "class/power_supply"):
        show(state / "sys" / folder, root / "sys" / folder, writable=True)
    _devices(root / "dev")
    mount("none", root, flags=_BIND | _REMOUNT | _RDONLY)


def _devices(dev: Path) -> None:
    dev.mkdir()
    for name in _DEVICES:
        show(Path("/dev") / name, dev / name, writable=True)
    (dev / "pts").mkdir()
    mount("none", dev / "pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")


def emulate(folder: Path, emulator: Path) -> bool:
    """Let this namespace run programs for AArch64 by `emulator`; return whether the kernel can (Linux 6.7).

    `folder`: an empty one. The emulator is opened here and now, so that it need not be found later (F).
    """
    try:
        mount("none", folder, "binfmt_misc")
        number, mask = _AARCH64
        entry = b":qemu-aarch64:M::" + number + b":" + mask + b":" + str(emulator).encode() + b":F"
        (folder / "register").write_bytes(entry)
    except OSError:
        return False
    return True


def without_vsock() -> None:
    """Let this process, and what it starts, have no sockets to hypervisors or guests: namespaces do not hold these.

    adbd listens there as well, and lets everybody in. A seccomp filter answers as a kernel without them.
    """
    load, equal, answer = 0x20, 0x15, 0x06  # linux/bpf_common.h: LD|W|ABS, JMP|JEQ|K, RET|K
    allow, refuse = 0x7FFF0000, 0x00050000 | _EAFNOSUPPORT  # linux/seccomp.h
    program = (
        (load, 0, 0, 0), (equal, 0, 3, _SYS_SOCKET), (load, 0, 0, 16), (equal, 0, 1, _VSOCK),
        (answer, 0, 0, refuse), (answer, 0, 0, allow),
    )  # fmt: skip
    packed = b"".join(struct.pack("HBBI", *step) for step in program)
    steps = ctypes.create_string_buffer(packed, len(packed))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(steps)))
    set_no_new_privs, set_seccomp, by_filter = 38, 22, 2  # linux/prctl.h
    for arguments in ((set_no_new_privs, 1, 0, 0, 0), (set_seccomp, by_filter, filters, 0, 0)):
        if _LIBC.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
