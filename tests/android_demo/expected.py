"""What :core is held against: what Python makes of the same bundle, tensors and image files.

    python expected.py BUNDLE OUT

writes into OUT: a job of the bundle's ONNX sets and 100 images (`plan.json`, `bundle/`, `inputs.npy`, `images/`), and
`expected.json` with the answer to every image at several settings.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edge_moe import Runtime
from edge_moe.anytime import alpha, softmax
from edge_moe.backends.onnx_session import saturates
from edge_moe.benchmarks.job import image_names, write_job
from edge_moe.benchmarks.wire import SCHEMA_VERSION, Plan, PlannedSet, Setting
from edge_moe.bundle import ArtifactSet, Bundle
from edge_moe.preprocess import prepare

IMAGES = 100
SETTINGS = tuple((tau, most) for most in (1, 2) for tau in (0.0, 0.02, 0.1, 0.3, 1.0))
TIMED = 12  # of the job


def pictures() -> Iterator[tuple[str, bytes]]:
    """Stripes in three directions, as tests/tiny.py has them, of many sizes, kinds and formats -> suffix, bytes."""
    rng = np.random.default_rng(16)
    for i in range(IMAGES):
        height, width = (32, 32) if i % 4 == 0 else map(int, rng.integers(24, 260, 2))
        y, x = np.mgrid[:height, :width]
        along = (y, x + y, x)[i % 3] * (32 / min(height, width))
        wave = np.sin(along * (2 * np.pi / 8) + rng.uniform(0, 6))[..., np.newaxis]
        pixels = 128 + 60 * wave * rng.uniform(0.02, 0.5, 3) + rng.normal(0, 35, (height, width, 3))
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        kind = i % 10
        if kind == 3:
            image = image.convert("L")
        elif kind == 5:
            image = image.quantize(64)
        elif kind == 7:
            image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), np.uint8)))
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        stream = io.BytesIO()
        if kind in (2, 3, 6, 8):
            how: dict[str, Any] = {"exif": exif} if kind == 6 else {}
            image.save(stream, "JPEG", quality=int(rng.integers(70, 98)), subsampling=int(rng.integers(0, 3)), **how)
            yield ".jpg", stream.getvalue()
        else:
            image.save(stream, "PNG")
            yield ".png", stream.getvalue()


def answers(bundle: Bundle, one: ArtifactSet, inputs: list[npt.NDArray[np.float32]]) -> dict[str, Any]:
    """Return the logits of the base and the alphas of every image, and its answers at every setting."""
    with Runtime(bundle, backend=one.backend, recipe=one.recipe.name) as runtime:
        found: dict[str, Any] = {"base": [], "alpha": [], "answers": []}
        for x in inputs:
            base, gate = runtime.part("base"), runtime.part("gate")
            base.invoke(x)
            gate.invoke(base.output("embedding"))
            phi, g = softmax(base.output("logits")[0]), softmax(gate.output("logits")[0])
            found["base"].append(base.output("logits")[0].tolist())
            found["alpha"].append(alpha(phi, g).tolist())
            row = []
            for runtime.tau, runtime.max_experts in SETTINGS:
                answer = runtime.predict_tensor(x)
                row.append(
                    {
                        "index": answer.index,
                        "experts": list(answer.experts),
                        "gate_ran": answer.gate_ran,
                        "macs": answer.macs,
                        "scores": answer.scores.tolist(),
                    }
                )
            found["answers"].append(row)
    return found


def main(bundle_folder: str, out_folder: str) -> None:
    """Write everything."""
    bundle, out = Bundle(bundle_folder), Path(out_folder)
    (out / "files").mkdir(parents=True)
    files = []
    for i, (suffix, data) in enumerate(pictures()):
        files.append(out / "files" / f"{i:04d}{suffix}")
        files[-1].write_bytes(data)
    inputs = [prepare(file, bundle.manifest.preprocessing) for file in files]
    sets = [one for one in bundle.manifest.sets if one.backend == "onnx"]
    order = [list(range(bundle.manifest.experts)) for _ in range(TIMED)]
    settings = tuple(Setting(tau=tau, max_experts=most) for tau, most in SETTINGS)
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        bundle="bundle",
        sets=tuple(PlannedSet(set=str(one.key), settings=settings, order=tuple(map(tuple, order))) for one in sets),
        inputs="inputs.npy",
        images=image_names(files[:TIMED]),
        threads=1,
        rounds=3,
        cold_starts=0,
        seed=7,
    )
    write_job(out, bundle, plan, inputs[:TIMED], files[:TIMED])
    np.save(out / "tensors.npy", np.concatenate(inputs))
    expected = {
        "saturates": saturates(),
        "files": [f"files/{file.name}" for file in files],
        "settings": [{"tau": tau, "max_experts": most} for tau, most in SETTINGS],
        "sets": {str(one.key): answers(bundle, one, inputs) for one in sets},
    }
    (out / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(*sys.argv[1:])
