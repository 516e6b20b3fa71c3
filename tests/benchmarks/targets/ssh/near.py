"""A board that is near: an `ssh` that begins what it is told to in a shell here, and an environment of links.

Nothing of a network, a login or a key is in it; `test_over_sshd.py` has those.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

from edge_moe.benchmarks.targets.ssh import Ssh
from edge_moe.benchmarks.targets.ssh.environment import BoardSetUp

SSH = """#!/bin/sh
for command; do :; done  # the last argument
export XDG_CACHE_HOME='{cache}' PATH='{bin}:/usr/bin:/bin'
unset PYTHONPATH
{before}
setsid -w sh -c "$command"  # like a process on another machine, which no signal of this one reaches
code=$?
{after}
exit $code
"""


class Near:
    """The board of a test."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self.cache, self.bin = folder, folder / "cache", folder / "bin"
        self.bin.mkdir()
        (self.bin / "python3").symlink_to(sys.executable)
        self.answer_as()
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setattr(Ssh, "_running", {})

    @property
    def home(self) -> Path:
        """What is ours on the board."""
        return self.cache / "edge-moe/board"

    def answer_as(self, before: str = "", after: str = "") -> None:
        """Let the way to it do something before and after."""
        file = self.bin / "ssh"
        file.write_text(SSH.format(cache=self.cache, bin=self.bin, before=before, after=after))
        file.chmod(0o755)

    def set_up(self) -> None:
        """Let it have what this Python has."""
        target = Ssh("near")
        (folder,) = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        for item in BoardSetUp(target._way, target.board).items:
            there = self.home / item.name
            there.mkdir(parents=True)
            for entry in Path(folder).iterdir():
                if not entry.name.startswith(("__editable__", "edge_moe")):
                    (there / entry.name).symlink_to(entry)
            (there / "brought.json").write_text(json.dumps({"made_from": item.made_from}))
