#!/usr/bin/env python3
"""Build the app bundle that Google Play takes: an app's base module, and asset packs of `edge-moe pack --play`.

    ./play/aab.py base.zip packs/ -o app.aab

`base.zip` is a module as bundletool takes it: what aapt2 linked in proto format, its AndroidManifest.xml as
manifest/AndroidManifest.xml, and classes.dex as dex/classes.dex. bundletool puts them together and validates what comes
out. Needs Python 3.11, and what ../mvn.sh needs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
AAPT2 = HERE.parent / "tools/target/aapt2"  # which bundletool.sh brings
MANIFEST = "manifest/AndroidManifest.xml"
SOURCE = "src/main/AndroidManifest.xml"
ASSETS = "src/main/assets"
DIST = "http://schemas.android.com/apk/distribution"
THE_SAME_EVERY_TIME = (1980, 1, 1, 0, 0, 0)  # what a .zip says of when a file was written


class Refused(Exception):
    """What is wrong, what was expected, and what to do, in one line."""


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", type=Path, help="the app's base module, a .zip")
    parser.add_argument("packs", type=Path, help="made by 'edge-moe pack --play'")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .aab to write; one that is there goes")
    parser.add_argument("--config", type=Path, help="BundleConfig.json for bundletool")
    given = parser.parse_args()
    try:
        build(given.base, given.packs, given.output, given.config)
    except (Refused, OSError) as error:
        print(f"aab: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("aab: error: stopped; what was there before is untouched", file=sys.stderr)
        return 130
    return 0


def build(base: Path, packs: Path, out: Path, config: Path | None = None) -> None:
    """Write the app bundle `out`, whole or not at all.

    Raises:
        Refused: base or packs are not what they should be, or bundletool says so.
        OSError: no space, no permission.
    """
    folders = folders_of(packs)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
        draft = Path(name)
        package = package_of(base, draft)
        modules = [base, *(write_module(folder, package, draft) for folder in folders)]
        more = [] if config is None else [f"--config={config}"]
        made = build_bundle(modules, draft / "app.aab", *more)
        bundletool("validate", f"--bundle={made}")
        made.replace(out)


def folders_of(packs: Path) -> list[Path]:
    """Return the folder of each asset pack; raise Refused if they are not there."""
    try:
        folders = [packs / one["name"] for one in json.loads((packs / "packs.json").read_bytes())["packs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{packs} has no asset packs ({error}); expected a folder made by 'edge-moe pack --play BUNDLE -o {packs}'"
        ) from None
    for folder in folders:
        if not (folder / SOURCE).is_file():
            raise Refused(f"{folder / SOURCE} is missing; make the packs again: edge-moe pack --play BUNDLE -o {packs}")
    return folders


def package_of(base: Path, draft: Path) -> str:
    """Return the package of the app that a base module is of; raise Refused if it is none. `draft`: for files."""
    alone = build_bundle([base], draft / "base.aab")
    return bundletool("dump", "manifest", f"--bundle={alone}", "--xpath=/manifest/@package").strip()


def build_bundle(modules: list[Path], out: Path, *more: str) -> Path:
    """Let bundletool put modules together, which it checks; return `out`."""
    bundletool("build-bundle", f"--modules={','.join(map(str, modules))}", f"--output={out}", *more)
    return out


def write_module(pack: Path, package: str, folder: Path) -> Path:
    """Write the asset pack `pack` as a module for an app of that package; return the .zip in `folder`."""
    module = folder / f"{pack.name}.zip"
    with zipfile.ZipFile(module, "w") as archive:
        add(archive, MANIFEST, linked(pack / SOURCE, package, folder))
        for file in sorted((pack / ASSETS).rglob("*")):
            if file.is_file():
                add(archive, f"assets/{file.relative_to(pack / ASSETS).as_posix()}", file.read_bytes())
    return module


def linked(source: Path, package: str, folder: Path) -> bytes:
    """Return a pack's manifest in aapt2's proto format. It names nothing of Android's, so no android.jar is needed."""
    manifest, apk = folder / "AndroidManifest.xml", folder / "linked.apk"
    ElementTree.register_namespace("dist", DIST)
    try:
        tree = ElementTree.parse(source)
    except ElementTree.ParseError as error:
        raise Refused(f"{source} is no XML ({error}); make the packs again") from None
    tree.getroot().set("package", package)
    tree.write(manifest, encoding="utf-8", xml_declaration=True)
    command = [str(one) for one in (AAPT2, "link", "--proto-format", "--manifest", manifest, "-o", apk)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(f"{source}: aapt2 says {' '.join(done.stderr.split())}; make the packs again")
    with zipfile.ZipFile(apk) as archive:
        return archive.read("AndroidManifest.xml")


def add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a file; bundletool decides how it is compressed in the end."""
    archive.writestr(zipfile.ZipInfo(name, THE_SAME_EVERY_TIME), data)


def bundletool(*arguments: str) -> str:
    """Run bundletool; return what it prints on stdout. Raises Refused with what it says is wrong."""
    done = subprocess.run([HERE / "bundletool.sh", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        said = re.findall(r"^\[BT:[\d.]+\] Error: (.*)", done.stderr, re.MULTILINE)
        told = said[0] if said else (done.stderr.strip() or done.stdout.strip() or "it said nothing")
        raise Refused(f"bundletool {arguments[0]}: {' '.join(told.split())}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
