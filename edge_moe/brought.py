"""Where what was brought here beside the installed packages lies: emulators, compilers, a vendor's tools.

`edge-moe devices setup` brings it; the core only looks whether it is there, and imports it for whoever needs it.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["cache_folder", "import_from"]


def cache_folder() -> Path:
    """Return where set-ups lie: EDGE_MOE_CACHE, or the user's own cache folder."""
    given = os.environ.get("EDGE_MOE_CACHE")
    home = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(home) if home else Path.home() / ".cache") / "edge-moe"


def import_from(folder: Path, module: str) -> ModuleType:
    """Import a module of a folder; what it imports itself is taken from the environment where that has it.

    The folder stays last on the path of modules: what is imported from it later finds it there. Nothing is written
    into it, for its files are checked against what was brought.

    Raises:
        ImportError: as importing it does.
    """
    sys.dont_write_bytecode = True
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module(module)
