"""What an artifact says of its tensors, by the names that the manifest has for them."""

from __future__ import annotations

import msgspec

from edge_moe import backends
from edge_moe.backends.base import OpenPart, PartTensor, PartTensors
from edge_moe.manifest import Artifact, PartArtifact, PartSpec, TensorSpec

__all__ = ["bind", "described"]


def bind(part: OpenPart, spec: PartSpec) -> PartTensors:
    """Return the tensors of an opened part, read from its artifact, named as `spec` names them.

    A part has one input, so that it is known whatever the file calls it. A map whose file has the channels first is
    told by its shape.
    """
    found = part.tensors()
    (only,) = spec.inputs
    inputs = tuple(_placed(msgspec.structs.replace(one, name=only.name), only) for one in found.inputs)
    by_name = {one.name: one for one in spec.outputs}
    outputs = tuple(_placed(one, by_name[one.name]) if one.name in by_name else one for one in found.outputs)
    return PartTensors(inputs, outputs)


def described(artifact: Artifact, data: bytes, backend: str, spec: PartSpec) -> PartArtifact:
    """Return what the manifest says of `artifact`, whose bytes are `data`: its tensors are read from the file itself.

    Raises:
        BackendError, MissingExtraError: the backend cannot open it here.
    """
    opened = backends.get(backend).open(data)
    try:
        inputs, outputs = bind(opened, spec)
    finally:
        opened.close()
    return PartArtifact(
        file=artifact.file, sha256=artifact.sha256, bytes=artifact.bytes, inputs=inputs, outputs=outputs
    )


def _placed(tensor: PartTensor, spec: TensorSpec) -> PartTensor:
    if tensor.layout == "NHWC" and tensor.shape != spec.shape and len(spec.shape) == 4:
        batch, height, width, channels = spec.shape
        if tensor.shape == (batch, channels, height, width):
            return msgspec.structs.replace(tensor, layout="NCHW")
    return tensor
