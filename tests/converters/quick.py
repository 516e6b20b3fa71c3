"""What the tests of `convert` share: parts, options that make it fast, and what a manifest holds."""

from __future__ import annotations

PARTS = ["base", "gate", "expert_00", "expert_01"]
LOOSE = {"min_agreement": 0, "min_routing": 0}
FAST = {"recipes": ("int8",), "calibration_images": 8, "validation_images": 12, **LOOSE}
SUFFIX = {"litert": ".tflite", "onnx": ".onnx"}
BOTH = {"backends": ("litert", "onnx")}
STRICT = {"min_agreement": 0.985, "min_routing": 0.97, "validation_images": None}


def names(manifest):
    return [f"{one.backend}/{one.recipe.name}" for one in manifest.sets]


def all_of(*sets, parts=PARTS):
    return [f"{one}/{part}" for part in parts for one in sets]
