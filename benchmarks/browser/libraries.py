"""What the page runs on, from npm: LiteRT.js, and two small libraries that check JSON, and hash where no browser does.

Pinned by package-lock.json, brought into a folder of the user's, never committed. They stay files of their own: a
browser takes modules as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_moe.benchmarks.fetch import Npm, untar
from edge_moe.benchmarks.set_up import Item, SetUp
from edge_moe.brought import cache_folder
from edge_moe.errors import BackendError
from edge_moe.records import sha256

__all__ = ["Libraries", "problem"]

_LOCK = Path(__file__).with_name("package-lock.json")
_BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal")  # with relaxed SIMD, and where a browser has none
_CHECKS = (
    *("deep-compare-strict", "dereference", "format", "index", "pointer", "types", "ucs2-length", "validate"),
    "validator",
)
# The one module of LiteRT.js that names another by its package, which only a page's import map could resolve, and it
# runs in a worker, which has none.
_NAMED, _BESIDE = b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"'


class _Package(NamedTuple):
    name: str
    size_bytes: int
    members: Mapping[str, str]  # file in the folder -> in the package


_FOLDERS = {
    "litert": (
        _Package(
            "@litertjs/core",
            11_817_097,
            {
                "index.js": "dist/index.js",
                **{f"{name}.{kind}": f"wasm/{name}.{kind}" for name in _BUILDS for kind in ("js", "wasm")},
            },
        ),
        _Package("@litertjs/wasm-utils", 4_698, {"wasm-utils.js": "dist/index.js"}),
    ),
    "hashes": (
        _Package("@noble/hashes", 167_626, {f"{name}.js": f"{name}.js" for name in ("sha2", "_md", "_u64", "utils")}),
    ),
    "json-schema": (
        _Package("@cfworker/json-schema", 61_306, {f"{name}.js": f"dist/esm/{name}.js" for name in _CHECKS}),
    ),
}


class Libraries(SetUp):
    """Their folders, one a library."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: None is the one in the user's cache folder."""
        super().__init__(cache_folder() / "browser" if folder is None else folder)
        lock = msgspec.json.decode(_LOCK.read_bytes())["packages"]
        self._pinned = {
            package.name: Npm(
                name=package.name,
                size_bytes=package.size_bytes,
                **{key: lock[f"node_modules/{package.name}"][key] for key in ("version", "integrity")},
            )
            for packages in _FOLDERS.values()
            for package in packages
        }
        self.items = tuple(self._item(name) for name in _FOLDERS)

    def _item(self, folder: str) -> Item:
        packages = [self._pinned[one.name] for one in _FOLDERS[folder]]
        made_from = (packages, [one.members for one in _FOLDERS[folder]], _BESIDE.decode())
        return Item(
            name=folder,
            version=packages[0].version,
            bytes=sum(one.size_bytes for one in packages),
            made_from=sha256(msgspec.json.encode(made_from)),
        )

    def bring(self, item: Item, folder: Path) -> None:
        """Fetch and unpack."""
        for package in _FOLDERS[item.name]:
            untar(self._pinned[package.name].fetch(), package.members, folder)
        core = folder / "index.js"
        if item.name == "litert":
            core.write_bytes(core.read_bytes().replace(_NAMED, _BESIDE))

    @property
    def version(self) -> str:
        """What executes the artifacts."""
        return f"LiteRT.js {self._pinned['@litertjs/core'].version}"

    def files(self) -> dict[str, Path]:
        """Return path below the folder -> file.

        Raises:
            BackendError: it is not set up.
        """
        if what := problem(self):
            raise BackendError(f"the page cannot be shown: {what}")
        return {
            f"{item.name}/{file}": self.folder / item.name / file
            for item in self.items
            for package in _FOLDERS[item.name]
            for file in package.members
        }


def problem(libraries: Libraries) -> str:
    """Return why they cannot be used, and what to do; nothing where they can."""
    return "" if libraries.complete else "LiteRT.js is not set up: run 'edge-moe devices setup browser'"
