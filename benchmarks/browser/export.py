"""The page as a folder of files, which any web server can hand out; where it is opened, it asks for nothing else."""

from __future__ import annotations

from pathlib import Path

from edge_moe.benchmarks.browser.libraries import Libraries
from edge_moe.benchmarks.browser.site import site_files
from edge_moe.benchmarks.job import bundle_files
from edge_moe.bundle import Bundle
from edge_moe.manifest import files
from edge_moe.output import write_file
from edge_moe.work import making

__all__ = ["export"]

_WITH_A_DESK = "measure.html"  # a folder has nothing that it could be told to measure


def export(bundle: Bundle, libraries: Libraries, out: Path, *, force: bool = False) -> int:
    """Write the page and the bundle's files, checked by their hashes, into the folder `out`; return the bytes.

    Raises:
        OutputError: `out` exists and `force` is not given, or cannot be written.
        BackendError: the libraries are not set up.
        IntegrityError: a file of the bundle was altered.
    """
    checked = {f"bundle/{one.file}": one for one in files(bundle.manifest)}
    with making(out, "serve", force=force, reads=(bundle.path,)) as work:
        folder, count = work.fresh(), 0
        for address, content in (site_files(libraries) | bundle_files(bundle)).items():
            if address == _WITH_A_DESK:
                continue
            if address in checked:
                data = bundle.read(checked[address])
            else:
                data = content if isinstance(content, bytes) else content.read_bytes()
            write_file(folder / address, data)
            count += len(data)
        work.publish()
    return count
