"""A bundle as asset packs of Google Play: an app is installed with one, and fetches an expert when it first needs it.

    OUT/
      README.txt                   what to do with the folder
      packs.json                   what is in it, see `Packs`
      bundle/                      at install: manifest, operating points, golden samples, base, gate
        build.gradle.kts                for Gradle
        src/main/AndroidManifest.xml    for bundletool
        src/main/assets/bundle/         files, by their paths in the bundle
      bundle_expert_00/            on demand: one pack an expert, with its artifacts and nothing else
      ...

Laid over each other, the folders `assets` of all packs are a bundle. What is written of a pack depends on that pack
alone: another expert is another pack, and of those that were there before only that of the install is another one.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec.structs import replace

from edge_moe import play_texts
from edge_moe.bundle import Bundle
from edge_moe.digest import answers_digest
from edge_moe.errors import BundleError, UsageError
from edge_moe.excerpt import Excerpt, excerpt
from edge_moe.manifest import Artifact, ArtifactSet, files
from edge_moe.output import write_file
from edge_moe.records import Count, Digest, Strict, to_json
from edge_moe.work import making

__all__ = ["NAME", "PACKS", "Pack", "Packed", "Packs", "lay_out"]

_log = logging.getLogger(__name__)

NAME = "bundle"
PACKS = "packs.json"
_SCHEMA_VERSION = 1
_VALID_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")  # what bundletool takes as the name of a module
_TAKEN = "base"  # by the app itself

# What Play takes: https://support.google.com/googleplay/android-developer/answer/9859372. Its gigabytes are taken for
# the smaller ones. It counts what is downloaded, which is compressed: a little less than what lies in the files.
_MOST_PACKS = 100
_GB = 1_000_000_000
_MOST_PACK_BYTES = 3 * _GB // 2
_MOST_BYTES = {"install-time": 4 * _GB, "on-demand": 4 * _GB}

Delivery = Literal["install-time", "on-demand"]


class Packed(Strict, frozen=True):
    """What packs.json says of a pack."""

    name: str
    delivery: Delivery
    bytes: Count  # of its files
    files: tuple[str, ...]  # paths in the bundle


class Packs(Strict, frozen=True):
    """packs.json: for whoever builds an app of the folder."""

    schema_version: int
    assets: str  # the folder among an app's assets in which the bundle lies
    sets: dict[str, Digest]  # backend/recipe -> the digest of all that decides the set's answers; the default first
    packs: tuple[Packed, ...]  # that of the install first


class Pack(NamedTuple):
    """One asset pack."""

    name: str
    delivery: Delivery
    files: dict[str, Artifact | bytes]  # path in the bundle -> a file of it, or what is written instead

    @property
    def bytes(self) -> int:
        """Of its files, as they are."""
        return sum(len(one) if isinstance(one, bytes) else one.bytes for one in self.files.values())


def lay_out(
    bundle: Bundle, out: Path, sets: Sequence[ArtifactSet] = (), *, name: str = NAME, force: bool = False
) -> list[Pack]:
    """Write asset packs of `bundle` into the folder `out`; return them, that of the install first.

    Args:
        bundle: every file that goes along is compared with its hash.
        out: made whole or not at all.
        sets: of the bundle, that go along, the default first; none: its default alone, for a phone needs one.
        name: of the pack of the install, how those of the experts begin, and the folder among the app's assets.
        force: `out` may be there, and is replaced.

    Raises:
        UsageError: Play takes no pack of that name.
        BundleError: the bundle has more experts than Play takes packs, or one file for two parts.
        IntegrityError: a file of the bundle is missing or was altered.
        OutputError: `out` exists and `force` is not given, or cannot be written.
    """
    if not _VALID_NAME.fullmatch(name) or name == _TAKEN:
        raise UsageError(
            f"{name!r} is no name of an asset pack; expected a letter, then letters, digits and underscores, and not "
            f"{_TAKEN!r}"
        )
    chosen = tuple(sets) or bundle.manifest.sets[:1]
    part = excerpt(bundle, chosen)
    packs = _packs(part, name)
    _check(bundle.path, packs)
    about = Packs(
        schema_version=_SCHEMA_VERSION,
        assets=name,
        sets={str(one.key): answers_digest(part.manifest, one) for one in chosen},
        packs=tuple(
            Packed(name=one.name, delivery=one.delivery, bytes=one.bytes, files=tuple(one.files)) for one in packs
        ),
    )
    with making(out, "pack", force=force, reads=(bundle.path,)) as work:
        folder = work.fresh()
        for one in packs:
            _write(bundle, one, name, folder / one.name)
        write_file(folder / "README.txt", play_texts.readme([one.name for one in packs]).encode())
        write_file(folder / PACKS, to_json(about))
        work.publish()
    return packs


def _packs(part: Excerpt, name: str) -> list[Pack]:
    """Sort the files of a bundle into packs: one for the install, and one an expert."""
    manifest = part.manifest
    experts = {
        expert: {one.parts[expert].file: one.parts[expert] for one in manifest.sets}
        for expert, spec in manifest.parts.items()
        if spec.kind == "expert"
    }
    without = [replace(one, parts={n: p for n, p in one.parts.items() if n not in experts}) for one in manifest.sets]
    first = {one.file: one for one in files(replace(manifest, sets=tuple(without)))}
    return [
        Pack(name, "install-time", dict(sorted((first | part.made).items()))),
        *(Pack(f"{name}_{expert}", "on-demand", dict(sorted(one.items()))) for expert, one in experts.items()),
    ]


def _check(bundle: Path, packs: Sequence[Pack]) -> None:
    """Raise BundleError if Play takes no such app; tell what it may be too large for."""
    for one, other in itertools.combinations(packs, 2):
        for file in one.files.keys() & other.files.keys():
            raise BundleError(
                f"{bundle} has the file {file} for two parts, and no two asset packs may have the same; convert the "
                "checkpoint again"
            )
    if len(packs) > _MOST_PACKS:
        raise BundleError(
            f"{bundle} has {len(packs) - 1} experts, which with what is installed make {len(packs)} asset packs; "
            f"Google Play takes {_MOST_PACKS} of an app: ship a bundle of fewer experts"
        )
    sizes = [(f"the pack {one.name}", one.bytes, _MOST_PACK_BYTES) for one in packs]
    for delivery, most in _MOST_BYTES.items():
        count = sum(one.bytes for one in packs if one.delivery == delivery)
        sizes.append((f"all that is delivered {delivery}", count, most))
    for what, count, most in sizes:
        if count > most:
            _log.info(
                "%s has %.2f GB, and Google Play takes %.1f GB, counted as they are downloaded, compressed: ask "
                "'bundletool get-size' before you upload",
                what,
                count / _GB,
                most / _GB,
            )


def _write(bundle: Bundle, pack: Pack, assets: str, folder: Path) -> None:
    """Write one pack as the module `folder`."""
    for file, content in pack.files.items():
        data = content if isinstance(content, bytes) else bundle.read(content)
        write_file(folder / "src/main/assets" / assets / file, data)
    write_file(folder / "src/main/AndroidManifest.xml", play_texts.manifest(pack.name, pack.delivery).encode())
    write_file(folder / "build.gradle.kts", play_texts.gradle(pack.name, pack.delivery).encode())
