"""What the phone is made of, brought once into the user's cache folder."""

from __future__ import annotations

import io
import shutil
import tarfile
from functools import cache
from pathlib import Path

import msgspec

from edge_moe.benchmarks import fetch
from edge_moe.benchmarks.set_up import Item, SetUp
from edge_moe.benchmarks.targets.arm.pins import QEMU
from edge_moe.brought import cache_folder
from edge_moe.progress import Silent
from edge_moe.records import sha256
from tests.phone import pins

# The commands that both this toybox and that of Android 12 and later have; what is not here a phone may not have.
_TOYBOX = (
    "[ base64 basename cal cat chmod chown chgrp chroot chrt cksum clear cmp comm cp cpio cut date df dirname dmesg du "
    "echo egrep env expand fallocate false fgrep file find flock fmt free fsync getconf grep groups gunzip head "
    "hostname id ifconfig inotifyd install ionice iotop kill killall ln logname ls lsattr lsmod md5sum microcom mkdir "
    "mkfifo mknod mktemp mountpoint mv nc netstat nice nl nohup nproc nsenter od paste patch pgrep pidof ping pkill "
    "pmap printenv printf prlimit ps pwd pwdx readelf readlink realpath renice rev rm rmdir sed seq setsid sha1sum "
    "sha224sum sha256sum sha384sum sha512sum sleep sort split stat strings sync sysctl tac tail tar taskset tee test "
    "time timeout top touch true truncate tty uclampset ulimit uname uniq unlink unshare uptime usleep uudecode "
    "uuencode uuidgen vmstat watch wc which whoami xargs xxd yes zcat"
)
# What Debian leaves out of toybox is busybox's here; options beyond POSIX may differ.
_BUSYBOX = "awk dd diff expr gzip more stty tr"
_LAYOUT = 3  # of the folder: another number has it made again


class Parts(SetUp):
    """One folder, /system of the phone: programs, and libraries where the loader of these programs looks."""

    def __init__(self) -> None:
        super().__init__(cache_folder() / "phone")
        debs = (*pins.PROGRAMS, *pins.LIBRARIES, *QEMU)
        made_from = sha256(msgspec.json.encode((debs, _TOYBOX, _BUSYBOX, _LAYOUT)))
        size = sum(deb.size_bytes for deb in debs)
        self.items = (Item(name="system", version="adbd 34.0.5", bytes=size, made_from=made_from),)

    def bring(self, item: Item, folder: Path) -> None:
        programs, libraries = folder / "bin", folder / "lib64"
        programs.mkdir()
        for deb in pins.PROGRAMS:
            _take(deb.fetch(), deb.files, programs)
        for deb in (*pins.LIBRARIES, *QEMU):
            fetch.unpack(deb.fetch(), deb.files, libraries)
        (libraries / "qemu-aarch64").rename(programs / "qemu-aarch64")
        shutil.copy(programs / "mksh", programs / "sh")  # no link: `old_kernel/sh` may lie over it
        for program, names in (("toybox", _TOYBOX), ("busybox", _BUSYBOX)):
            for name in names.split():
                (programs / name).symlink_to(program)


@cache
def system() -> Path:
    """Return the folder, brought when it is not there."""
    parts = Parts()
    if not parts.complete:
        parts.install(Silent())
    return parts.folder / parts.items[0].name


def _take(deb: bytes, files: tuple[str, ...], folder: Path) -> None:
    """Write `files`, by their whole paths: packages of programs have other files of a program's name."""
    with tarfile.open(fileobj=io.BytesIO(fetch._data(deb))) as archive:
        for entry in archive.getmembers():
            if entry.isreg() and entry.name.removeprefix("./") in files:
                content = archive.extractfile(entry)
                assert content is not None
                made = folder / Path(entry.name).name
                made.write_bytes(content.read())
                made.chmod(0o755)
