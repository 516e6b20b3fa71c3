"""A backend without a native library, and bundles for it: what most tests of the core run on."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from edge_moe.anytime import active_experts, alpha, combine, ensemble, softmax
from edge_moe.backends import Backend, OpenPart, PartTensor, PartTensors, Tensor
from edge_moe.bundle import (
    GOLDEN_FEED,
    MANIFEST,
    OPERATING,
    SCHEMA_VERSION,
    Artifact,
    ArtifactSet,
    Golden,
    GoldenInputs,
    GoldenSample,
    Manifest,
    PartArtifact,
    PartSpec,
    Preprocessing,
    RecipeRecord,
    RunsOn,
    SetOperating,
    TensorSpec,
    expert_name,
    sha256,
)
from edge_moe.digest import answers_digest
from edge_moe.errors import BackendError
from edge_moe.operating import encode
from edge_moe.preprocess import normalize
from edge_moe.vectors import make as make_vectors

BASE_MACS, GATE_MACS, EXPERT_MACS = 1000, 10, 300  # expert k has EXPERT_MACS + k


class FakePart(OpenPart):
    """Each output is the flattened input times a matrix."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights, self.results, self.closed, self.calls = weights, {}, False, 0

    def invoke(self, tensor: Tensor) -> None:
        assert not self.closed
        self.calls += 1
        self.results = {n: np.tensordot(tensor.ravel(), w, 1)[np.newaxis] for n, w in self.weights.items()}

    def output(self, name: str) -> Tensor:
        return self.results[name].copy()

    def tensors(self) -> PartTensors:
        size = next(iter(self.weights.values())).shape[0]
        given = (_tensor("given", (1, size)),)
        return PartTensors(given, tuple(_tensor(name, (1, *w.shape[1:])) for name, w in self.weights.items()))

    def close(self) -> None:
        self.closed = True


def _tensor(name: str, shape: tuple[int, ...]) -> PartTensor:
    layout = "NHWC" if len(shape) == 4 else None
    return PartTensor(
        name=name, tensor=f"fake:{name}", shape=shape, layout=layout, dtype="float32", scale=None, zero_point=None
    )


class FakeBackend(Backend):
    """Artifacts are .npz files: output name -> matrix [inputs, *output shape]."""

    name, suffix = "fake", ".npz"

    def __init__(self) -> None:
        self.opened: list[bytes] = []  # what the "native library" was given
        self.parts: list[FakePart] = []

    def open(self, data: bytes, *, threads: int = 1) -> FakePart:
        self.opened.append(data)
        try:
            with np.load(io.BytesIO(data)) as stored:
                self.parts.append(FakePart(dict(stored)))
        except ValueError as error:
            raise BackendError(str(error)) from None
        return self.parts[-1]

    def version(self) -> str:
        return "fake 1"


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def write_bundle(
    path: Path,
    *,
    experts: int = 3,
    classes: int = 5,
    image_size: int = 4,
    seed: int = 0,
    sharpness: float = 1.0,
    tau: float = 0.2,
    max_experts: int = 1,
    kind: str = "bagging",
    space: str = "logit",
    recipes: tuple[str, ...] = ("int8",),
    edit: Callable[[dict[str, Any]], None] | None = None,
    operate: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write a bundle of random linear parts for FakeBackend.

    `sharpness` scales the base's logits: the higher, the surer. `edit` changes the manifest, `operate` the file of the
    defaults, as plain dicts; the latter names the digests of the manifest as it was edited, if that can be read. With
    no `experts` it is a plain network: `max_experts` is then 0, and the base gives logits alone.
    """
    rng = np.random.default_rng(seed)
    pixels, embedding, features = image_size * image_size * 3, 6, (2, 2, 3)

    def draw(inputs: int, *shape: int) -> Tensor:
        return (rng.standard_normal((inputs, *shape)) / np.sqrt(inputs)).astype(np.float32)

    names = [expert_name(k) for k in range(experts)]
    max_experts = min(max_experts, experts)
    weights = {
        "base": {
            "logits": draw(pixels, classes) * np.float32(sharpness),
            "features": draw(pixels, *features),
            "embedding": draw(pixels, embedding),
        },
        "gate": {"logits": draw(embedding, experts)},
        **{name: {"logits": draw(12, classes)} for name in names},
    }
    if not experts:
        weights = {"base": {"logits": weights["base"]["logits"]}}
    spec = TensorSpec
    outputs = {p: tuple(spec(name=n, shape=(1, *w.shape[1:])) for n, w in o.items()) for p, o in weights.items()}
    image = spec(name="image", shape=(1, image_size, image_size, 3))
    parts = {"base": PartSpec(kind="base", macs=BASE_MACS, parameters=7, inputs=(image,), outputs=outputs["base"])}
    if experts:
        parts["gate"] = PartSpec(
            kind="gate", macs=GATE_MACS, parameters=3, inputs=(outputs["base"][2],), outputs=outputs["gate"]
        )
        parts |= {
            name: PartSpec(
                kind="expert",
                macs=EXPERT_MACS + k,
                parameters=5,
                inputs=(outputs["base"][1],),
                outputs=outputs[name],
            )
            for k, name in enumerate(names)
        }

    pixels_of_image = rng.integers(0, 256, (image_size, image_size, 3), np.uint8)
    preprocessing = Preprocessing(
        image_size=image_size, resize=image_size, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    )
    x = normalize(pixels_of_image, preprocessing)[np.newaxis]
    golden: dict[str, Any] = {"input": x}
    for part, spec_ in parts.items():
        opened = FakePart(weights[part])
        opened.invoke(golden[GOLDEN_FEED[spec_.kind]])
        golden |= {f"{part}.{n}": opened.output(n) for n in weights[part]}
    phi, active = softmax(golden["base.logits"][0]), np.zeros(0, np.bool_)
    if experts:
        gate = softmax(golden["gate.logits"][0])
        active = active_experts(alpha(phi, gate), tau, max_experts, gate)
        members = np.stack([ensemble(golden["base.logits"][0], golden[f"{n}.logits"][0], kind, space) for n in names])
    golden["scores"] = combine(gate, members, active) if active.any() else phi

    def put(file: str, data: bytes) -> Artifact:
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(data)
        return Artifact(file=file, sha256=sha256(data), bytes=len(data))

    def part(name: str, recipe: str) -> PartArtifact:
        plain = put(f"fake/{recipe}/{name}.npz", npz(**weights[name]))
        spec = parts[name]
        return PartArtifact(
            file=plain.file,
            sha256=plain.sha256,
            bytes=plain.bytes,
            inputs=tuple(_tensor(one.name, one.shape) for one in spec.inputs),
            outputs=tuple(_tensor(one.name, one.shape) for one in spec.outputs),
        )

    scores = golden.pop("scores")
    image = io.BytesIO()
    Image.fromarray(pixels_of_image).save(image, "png")
    outputs_of_set = {f"00/{name}": value for name, value in golden.items() if name != "input"}
    sets = tuple(
        ArtifactSet(
            backend="fake",
            recipe=RecipeRecord(name=recipe, settings={}),
            runs_on=RunsOn(),
            parts={name: part(name, recipe) for name in weights},
            made_from={part: sha256(f"{seed} {recipe} {part}".encode()) for part in weights},
            golden=Golden(
                file=put(f"golden/fake-{recipe}.npz", npz(**outputs_of_set, **{"00/scores.sample": scores})),
                tolerance=1e-5,
                part_tolerances={},
                samples=(
                    GoldenSample(
                        role="sample",
                        input="00",
                        tau=tau,
                        max_experts=max_experts,
                        label=int(scores.argmax()),
                        exited=not active.any(),
                        experts=tuple(np.flatnonzero(active).tolist()),
                        unlike_base=None,
                    ),
                ),
                missing=(),
            ),
        )
        for recipe in recipes
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        architecture="fake",
        trained=True,
        labels=tuple(f"class {y}" for y in range(classes)),
        preprocessing=preprocessing,
        experts=experts,
        ensemble=kind,
        space=space,
        parts=parts,
        sets=sets,
        golden=GoldenInputs(
            tensors=put("golden/inputs.npz", npz(**{"00": x})),
            images={"00": put("golden/00.png", image.getvalue())},
            vectors=put("golden/vectors.json", make_vectors(experts, classes, kind, space)),
        ),
        tools={},
    )
    raw = msgspec.to_builtins(manifest)
    if edit is not None:
        edit(raw)
    (path / MANIFEST).write_bytes(msgspec.json.encode(raw))
    write_operating(path, tau, max_experts)
    if operate is not None:
        raw = json.loads((path / OPERATING).read_text())
        operate(raw)
        (path / OPERATING).write_text(json.dumps(raw))
    return path


def write_operating(path: Path, tau: float, max_experts: int) -> None:
    """Write operating.json for the manifest as it stands; for one that is none, what a bundle of today has."""
    try:
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
        digests = {str(one.key): answers_digest(manifest, one) for one in manifest.sets}
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        digests = {"fake/int8": "0" * 64}
    sets = {
        name: SetOperating(digest=one, default_tau=tau, default_max_experts=max_experts, operating_points=())
        for name, one in digests.items()
    }
    (path / OPERATING).write_bytes(encode(sets))


def agree(path: Path) -> None:
    """Let operating.json name the digests of the manifest as it is now; where that is none, leave it as it is."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
        raw = json.loads((path / OPERATING).read_text())
        for one in manifest.sets:
            raw["sets"][str(one.key)]["digest"] = answers_digest(manifest, one)
        (path / OPERATING).write_text(json.dumps(raw))


class PoolHere:
    """Instead of `edge_moe.pool.Pool`: what is submitted is done in this process."""

    ended = ()

    def __init__(self, *_, **__):
        self._queue = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, do, *arguments):
        future = Future()
        self._queue.append((future, do, arguments))
        return future

    def wait(self):
        while self._queue:
            future, do, arguments = self._queue.pop(0)
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(do(*arguments))
                except Exception as error:
                    future.set_exception(error)
                return [future]
        return []
