"""A fourth backend, all of it: this folder and one record. Nothing else in the project knows of it.

It executes exported torch programs with torch. What is int8 in it are weights, rounded.
"""

from __future__ import annotations

from edge_moe.backends import Record

RECORD = Record(
    name="fourth",
    suffix=".pt2",
    runtime="tests.fourth.runtime:Fourth",
    toolchain="tests.fourth.toolchain:FourthToolchain",
    recipes="tests.fourth.recipes",
    extra="train",
    executes=("torch",),
    imports={"torch": "train"},
    runs_on="CPU, by torch",
)
