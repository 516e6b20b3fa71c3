"""What asset packs say of themselves: to Gradle, to bundletool, and to a person."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["gradle", "manifest", "readme"]


def gradle(pack: str, delivery: str) -> str:
    """Return build.gradle.kts of a pack; `delivery` is "install-time" or "on-demand"."""
    return f"""\
plugins {{
    id("com.android.asset-pack")
}}

assetPack {{
    packName.set("{pack}")
    dynamicDelivery {{
        deliveryType.set("{delivery}")
    }}
}}
"""


def manifest(pack: str, delivery: str) -> str:
    """Return AndroidManifest.xml of a pack. Gradle writes one of its own; the package is that of the app."""
    return f"""\
<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:dist="http://schemas.android.com/apk/distribution" split="{pack}">
    <dist:module dist:type="asset-pack">
        <dist:fusing dist:include="true" />
        <dist:delivery>
            <dist:{delivery} />
        </dist:delivery>
    </dist:module>
</manifest>
"""


def readme(packs: Sequence[str]) -> str:
    """Return README.txt; the first of `packs` is that of the install, and the folder among the app's assets."""
    first, *experts = packs
    listed = "\n".join(f'            ":{pack}",' for pack in packs)
    return f"""\
A bundle of edge-moe as asset packs of Google Play, by 'edge-moe pack --play': make it again instead of changing it.

{first} comes with the app: manifest, operating points, golden samples, {"base and gate" if experts else "base"}.
{_LATER.format(first=first) if experts else ""}
With Gradle: copy this folder into your project, as packs/, and write

  into settings.gradle.kts
    for (pack in file("packs").listFiles {{ it -> it.isDirectory }}!!) {{
        include(":${{pack.name}}")
        project(":${{pack.name}}").projectDir = pack
    }}

  into build.gradle.kts of the project, with the version of your com.android.application
    plugins {{
        id("com.android.asset-pack") version "..." apply false
    }}

  into build.gradle.kts of the app
    android {{
        assetPacks += listOf(
{listed}
        )
    }}

With bundletool alone, as android_demo/play/aab.py of edge-moe does it: each folder is a module. Zipped it has
src/main/assets as assets/, and src/main/AndroidManifest.xml as manifest/AndroidManifest.xml, in aapt2's proto format
and with the package of the app.

In the app, files have their paths in the bundle, below {first}/. Those of {first} are assets like the app's own:
    assets.open("{first}/manifest.json")
{_IN_THE_APP.format(first=first, expert=experts[0]) if experts else ""}"""


_LATER = """\
{first}_expert_00 and so on come when the app asks for them, one expert each; until then the base answers.
"""
_IN_THE_APP = """\
Those of an expert are files, once it is there; with com.google.android.play:asset-delivery:
    val packs = AssetPackManagerFactory.getInstance(context)
    packs.fetch(listOf("{expert}"))  // has it brought
    packs.getPackLocation("{expert}")?.assetsPath()  // the folder in which {first}/ lies; null: not there yet
packs.json says which file is in which pack.

When the bundle has another expert, make the packs again and name the new one in assetPacks. Of those that were there
before, only {first} is another one.
"""
