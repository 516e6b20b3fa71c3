"""What the types of a manifest alone cannot rule out, in words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from edge_moe.backends.base import PartTensor
from edge_moe.manifest import Artifact, ArtifactSet, Manifest, TensorSpec, files, part_count, part_names
from edge_moe.sizes import LARGEST, LARGEST_RESIZED, height_width, resize_problem, size_text
from edge_moe.text import counted

__all__ = ["inconsistency", "leaving", "wrong_width"]

_INTEGERS = ("int8", "uint8", "int16")
_LONGEST_PATH = 255  # characters: what every file system has for one name


def inconsistency(manifest: Manifest) -> str | None:
    """Return what is wrong with the manifest; None where it is sound."""
    # Counted first: the names of a number of experts that nothing else bears out are not made.
    if len(manifest.parts) != part_count(manifest.experts):
        return (
            f"it has {len(manifest.parts):,} parts; expected {part_count(manifest.experts):,}, of "
            f"{counted(manifest.experts)}"
        )
    expected = part_names(manifest.experts)
    if list(manifest.parts) != expected:
        return f"its parts should be {', '.join(expected)}"
    if not manifest.sets:
        return "it has no artifacts"
    if not manifest.labels:
        return "it has no labels"
    if problem := wrong_width(manifest):
        return problem
    if problem := _wrong_image(manifest):
        return problem
    if too_small := resize_problem(manifest.preprocessing.resize, manifest.preprocessing.image_size):
        return f"its images would be resized to less than the crop: {too_small}"
    if not all(s > 0 for s in manifest.preprocessing.std):
        return "its preprocessing divides by a std that is not above 0"
    if len({one.key for one in manifest.sets}) < len(manifest.sets):
        return "two of its sets have the same name"
    for artifacts in manifest.sets:
        if problem := _of_set(manifest, artifacts, expected):
            return f"{artifacts.key} {problem}"
    return leaving(files(manifest))


def _of_set(manifest: Manifest, artifacts: ArtifactSet, expected: list[str]) -> str | None:
    if sorted(artifacts.parts) != sorted(expected):
        return f"should have an artifact for each of {', '.join(expected)}"
    if not artifacts.made_from.keys() <= artifacts.parts.keys():
        return "says what parts were made from that it does not have"
    for name, part in artifacts.parts.items():
        spec = manifest.parts[name]
        for what, here, there in (("inputs", part.inputs, spec.inputs), ("outputs", part.outputs, spec.outputs)):
            if sorted(one.name for one in here) != sorted(one.name for one in there):
                return f"has {what} of {name} that are not {', '.join(one.name for one in there)}"
            by_name = {one.name: one for one in there}
            for one in here:
                if problem := _unlike(one, by_name[one.name], artifacts.runs_on.npu):
                    return f"has {one.name} of {name} {problem}"
    samples = artifacts.golden.samples
    if len({one.role for one in samples}) < len(samples):
        return "has two golden samples of the same role"
    for sample in samples:
        if sample.max_experts > manifest.experts:
            return "has a max_experts above the number of experts"
        if manifest.experts and not sample.max_experts:
            return "has a max_experts of 0, which only a plain network has"
        if sample.label >= len(manifest.labels):
            return "has a golden label that does not exist"
        if any(k >= manifest.experts for k in sample.experts):
            return "has a golden expert that does not exist"
    return None


def _unlike(tensor: PartTensor, spec: TensorSpec, npu: str | None) -> str | None:
    """Return in words how a file's tensor is another than the part's; None where it is the same.

    A graph for an NPU may have integers at its ends, of which it is known what they mean: whoever runs it rounds.
    """
    expected = spec.shape
    if tensor.layout in ("NCHW", "NHWC_in_NCHW") and len(expected) == 4:
        batch, height, width, channels = expected
        expected = (batch, channels, height, width)
    if tensor.shape != expected:
        return f"as {list(tensor.shape)}, expected {list(expected)}"
    if npu is not None and tensor.dtype in _INTEGERS and tensor.scale is not None:
        return None
    return None if tensor.dtype == spec.dtype else f"in {tensor.dtype}, expected {spec.dtype}"


def wrong_width(manifest: Manifest) -> str | None:
    """Return in words which part's logits are not [1, Y], those of the gate [1, K]; None where all are.

    A label too many or too few would put every answer under another name.
    """
    for name, spec in manifest.parts.items():
        what, width = ("experts", manifest.experts) if name == "gate" else ("labels", len(manifest.labels))
        found = next((one.shape for one in spec.outputs if one.name == "logits"), None)
        if found != (1, width):
            given = "no logits" if found is None else f"logits {list(found)}"
            return f"{name} gives {given}, but there are {width} {what}"
    return None


def _wrong_image(manifest: Manifest) -> str | None:
    """Return in words where images would be another size than the base takes, or a huge one; None where they are not.

    A port makes room for an image before anything else holds its size against the network's.
    """
    spec = manifest.preprocessing
    if max(spec.size) > LARGEST or max(height_width(spec.resize)) > LARGEST_RESIZED:
        return f"its images are larger than {LARGEST} pixels a side, or than {LARGEST_RESIZED} before the crop"
    taken = [one.shape for one in manifest.parts["base"].inputs]
    if taken != [(1, *spec.size, 3)]:
        return f"its images are {size_text(spec.image_size)}, but the base takes {', '.join(map(str, taken))}"
    return None


def leaving(paths: Iterable[Artifact]) -> str | None:
    """Return in words which path is not one inside of the bundle, on any system; None where all are."""
    for artifact in paths:
        if len(artifact.file) > _LONGEST_PATH:
            return f"the path {artifact.file[:40]!r}... has more than {_LONGEST_PATH} characters"
        inside = PurePosixPath(artifact.file)
        if inside.is_absolute() or ".." in inside.parts or any(one in artifact.file for one in "\\:\0"):
            return f"the path {artifact.file!r} leaves the bundle"
    return None
