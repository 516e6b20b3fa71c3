"""The page's files: what is under which address, whether a server hands it out or a folder holds a copy.

index.html         the page that answers
measure.html       the page that measures, of a server that has work for it
page/              modules, style, texts
library/           what `edge-moe devices setup browser` brought
site.json          schemas of the bundle's files, and the libraries' hashes
bundle/            the bundle's own files, those that its manifest names and no others
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

import msgspec

from edge_moe import operating
from edge_moe.benchmarks.browser.libraries import Libraries
from edge_moe.bundle import ArtifactSet, Bundle
from edge_moe.errors import BackendError
from edge_moe.manifest import SCHEMA_VERSION, Manifest
from edge_moe.operating import Operating
from edge_moe.records import file_sha256

__all__ = [
    "BACKEND",
    "HEADERS",
    "POLICY",
    "Content",
    "media_type",
    "runs_in_browser",
    "schemas",
    "site_files",
]

BACKEND = "litert"  # whose artifacts LiteRT.js runs
Content = Path | bytes

_PAGE = Path(__file__).with_name("page")
_PAGES = ("index.html", "measure.html")
_SMALL = 1 << 16
# Nothing but this server's own files, no code but that of its modules, and WebAssembly. The pages say it themselves,
# too, for where they are exported to.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    # With these two a browser's clock ticks in 5 instead of 100 microseconds, where the connection is trusted, too.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # kept, and asked for anew: a bundle of the same name may be another one
}
_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}


def site_files(libraries: Libraries) -> dict[str, Content]:
    """Return address -> content of all but the bundle.

    Raises:
        BackendError: the libraries are not set up.
    """
    brought = libraries.files()
    found = {
        (file.name if file.name in _PAGES else f"page/{file.name}"): _content(file) for file in sorted(_PAGE.iterdir())
    }
    found |= {f"library/{name}": _content(file) for name, file in brought.items()}
    found["site.json"] = msgspec.json.encode(
        {
            "schema_version": 1,
            "schemas": schemas(),
            "library": {
                name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)} for name, file in brought.items()
            },
        }
    )
    return found


def _content(file: Path) -> Content:
    """Return a small file's bytes, at hand: a page waits for one module after the other."""
    return file.read_bytes() if file.stat().st_size <= _SMALL else file


def schemas() -> dict[str, Any]:
    """Return what the page checks a bundle's files by: JSON schemas of the records that this package reads."""
    return {
        "manifest": msgspec.json.schema(Manifest),
        "operating": msgspec.json.schema(Operating),
        "versions": {"manifest": SCHEMA_VERSION, "operating": operating.SCHEMA_VERSION},
    }


def media_type(address: str) -> str:
    """Return what a browser is told of a file."""
    suffix = Path(address).suffix
    return _TYPES.get(suffix) or mimetypes.guess_type(address)[0] or "application/octet-stream"


def runs_in_browser(bundle: Bundle) -> list[ArtifactSet]:
    """Return the sets that LiteRT.js runs: those of LiteRT that need nothing else.

    Raises:
        BackendError: there is none.
    """
    sets = bundle.manifest.sets
    able = [one for one in sets if one.backend == BACKEND and not one.runs_on.processor and one.runs_on.npu is None]
    if not able:
        there = ", ".join(str(one.key) for one in sets)
        raise BackendError(
            f"{bundle.path} has {there}, and a browser runs artifacts of {BACKEND}; convert with --backend {BACKEND}"
        )
    return able
