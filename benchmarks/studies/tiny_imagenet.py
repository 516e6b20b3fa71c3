"""Unpack the first classes of Tiny ImageNet from its zips into the ImageFolder layout.

    python -m edge_moe.benchmarks.studies.tiny_imagenet ZIPS -o FOLDER --classes 50

ZIPS holds train-*.zip and val.zip, each an ImageFolder (train/<class>/*.JPEG, val/<class>/*.JPEG).
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

__all__ = ["main", "unpack"]


def unpack(zips: Path, output: Path, classes: int) -> int:
    """Write the images of the first `classes` classes, in the order of their names; return how many images.

    Raises:
        SystemExit: a zip is missing.
    """
    archives = [*sorted(zips.glob("train-*.zip")), zips / "val.zip"]
    if len(archives) < 2 or not archives[-1].is_file():
        raise SystemExit(f"{zips} should hold train-*.zip and val.zip")
    with zipfile.ZipFile(archives[-1]) as validation:
        names = sorted({Path(name).parts[1] for name in validation.namelist() if name.count("/") >= 2})
    wanted = set(names[:classes])
    count = 0
    for archive in archives:
        with zipfile.ZipFile(archive) as images:
            for member in images.infolist():
                split, _, rest = member.filename.partition("/")
                if not member.is_dir() and rest.split("/")[0] in wanted and split in ("train", "val"):
                    images.extract(member, output)
                    count += 1
    return count


def main() -> None:
    """Read the arguments and unpack."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("zips", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--classes", type=int, default=50)
    arguments = parser.parse_args()
    count = unpack(arguments.zips, arguments.output, arguments.classes)
    print(f"{arguments.output}: {count} images")


if __name__ == "__main__":
    main()
