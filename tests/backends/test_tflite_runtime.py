"""tflite-runtime instead of ai-edge-litert, in an environment of its own: it needs numpy 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_moe import Runtime
from edge_moe.bundle import Bundle
from edge_moe.preprocess import prepare
from edge_moe.verify import relative_error

pytest.importorskip("ai_edge_litert")

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ("tflite-runtime==2.14.0", "numpy<2", "msgspec", "Pillow")
IMAGES = 24

# Both libraries run this; what they have to say about themselves goes first.
HEADER = """
import json, sys
import numpy as np
from edge_moe import BackendError, Runtime
from edge_moe.backends.litert import LiteRT
said = {"version": LiteRT().version(), "numpy": np.__version__}
"""
ANSWERS = """
bundle, recipe, *images = sys.argv[1:]
said["answers"] = []
for tau, max_experts in ((0.0, 1), (0.0, 2), (0.2, 1)):
    with Runtime(
        bundle, backend="litert", recipe=recipe, tau=tau, max_experts=max_experts, weight_cache=False
    ) as model:
        said["partitions"] = [model.part(name).part.partitions() for name in ("base", "gate", "expert_00")]
        for image in images:
            one = model.predict(image)
            said["answers"].append([one.label, one.experts, one.gate_ran, one.scores.tolist()])
said["loaded"] = [name for name in ("torch", "ai_edge_litert") if name in sys.modules]
"""


def run(python: Path | str, code: str, *arguments: Any, before: str = "") -> dict[str, Any]:
    """Run `code` after HEADER with the checkout on the path; return `said`, and what was written to stderr."""
    whole = f"{before}\n{HEADER}\n{code}\nprint(json.dumps(said))"
    done = subprocess.run(
        [python, "-c", whole, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return {**said, "stderr": done.stderr}


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with tflite-runtime."""
    folder = tmp_path_factory.mktemp("tflite-runtime")
    python = folder / "bin" / "python"
    install = ["-m", "pip", "install", "--disable-pip-version-check", "--retries=1", "--only-binary=:all:", "-q"]
    for command in ([sys.executable, "-m", "venv", folder], [python, *install, *REQUIREMENTS]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["no reason given"]
            pytest.skip(f"an environment with {' '.join(REQUIREMENTS)} cannot be made here: {reason[-1]}")
    return python


@pytest.fixture(scope="session")
def images(tiny_images: Path) -> list[Path]:
    return sorted((tiny_images / "val").rglob("*.png"))[::3][:IMAGES]


def test_fp32_answers_are_those_of_ai_edge_litert(old_python, tiny_bundle, images):
    old, new = (run(python, ANSWERS, tiny_bundle, "fp32", *images) for python in (old_python, sys.executable))
    assert (old["version"], old["numpy"][:2]) == ("tflite-runtime 2.14.0", "1.")
    assert new["version"].startswith("ai-edge-litert ")
    assert old["partitions"] == new["partitions"] == [[1, 0]] * 3
    assert (old["loaded"], old["stderr"]) == ([], "")
    assert len(old["answers"]) == 3 * len(images)
    for (*decided, scores), (*expected, expected_scores) in zip(old["answers"], new["answers"], strict=True):
        assert decided == expected
        np.testing.assert_allclose(scores, expected_scores, rtol=1e-4, atol=1e-6)
    ran = {tuple(experts) for _, experts, _, _ in old["answers"]}
    assert {(), (0, 1)} < ran  # some exit, some wake both


def test_the_golden_sample_of_fp32_is_verified(old_python, tiny_bundle):
    code = (
        "from edge_moe.verify import verify\n"
        "checks = verify(sys.argv[1], backend='litert', recipe='fp32')\n"
        "said['checks'] = [(one.what, one.passed, one.detail) for one in checks]"
    )
    checks = run(old_python, code, tiny_bundle)["checks"]
    assert len(checks) > 3
    assert [one for one in checks if not one[1]] == []


def test_int8_with_ranges_of_the_image_is_refused(old_python, tiny_bundle):
    code = (
        "try:\n    Runtime(sys.argv[1], backend='litert', recipe='int8')\n"
        "except BackendError as error:\n    said['error'] = str(error)"
    )
    assert run(old_python, code, tiny_bundle)["error"] == (
        "tflite-runtime cannot compute the part's int8 linear layer; choose recipe fp32 or int8-all, "
        "or run: pip install ai-edge-litert"
    )


def test_another_major_version_of_numpy_is_named(old_python, tiny_bundle):
    if np.__version__.startswith("1."):
        pytest.skip(f"numpy here is {np.__version__}, which fits")
    (packages,) = old_python.parents[1].glob("lib/*/site-packages")
    before = (
        "import sys\n"
        "sys.modules['ai_edge_litert.interpreter'] = None\n"
        f"sys.path.append({str(packages)!r})"  # so that numpy is found elsewhere
    )
    code = (
        "try:\n    Runtime(sys.argv[1], backend='litert', recipe='fp32')\n"
        "except BackendError as error:\n    said['error'] = str(error)"
    )
    assert run(sys.executable, code, tiny_bundle, before=before)["error"] == (
        f"tflite-runtime does not work with numpy {np.__version__}; run: pip install 'numpy<2', or ai-edge-litert"
    )


# The reason for the refusal: whatever goes in, the bias comes out.
def test_what_is_refused_would_be_wrong(old_python, tiny_bundle, tmp_path):
    artifact = tiny_bundle / Bundle(tiny_bundle).manifest.find("litert", "int8").parts["gate"].file
    embedding = Bundle(tiny_bundle).manifest.parts["gate"].inputs[0].shape[-1]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(0, 2, (4, 1, embedding)).astype(np.float32))
    code = (
        "from edge_moe.backends import litert\n"
        "litert._check_linear_layers = lambda interpreter: None\n"
        "part = LiteRT().open(open(sys.argv[1], 'rb').read())\n"
        "said['logits'] = []\n"
        "for x in np.load(sys.argv[2]):\n    part.invoke(x)\n    said['logits'] += part.output('logits').tolist()"
    )
    old, new = (
        np.array(run(python, code, artifact, tmp_path / "x.npy")["logits"]) for python in (old_python, sys.executable)
    )
    assert (np.ptp(old, axis=0) == 0).all()
    assert (np.ptp(new, axis=0) > 0).all()


def test_int8_all_is_as_close_to_fp32_as_with_ai_edge_litert(
    old_python, tiny_bundle, tiny_checkpoint, images, tmp_path
):
    """Both are as close as a third implementation, see tests.rounding."""
    pytest.importorskip("ai_edge_quantizer")
    from edge_moe.converters import recipes
    from edge_moe.converters.interface import channels_first
    from edge_moe.converters.litert import quantizer as litert
    from edge_moe.training.checkpoint import load_checkpoint
    from tests.rounding import ALLOWED, rounded

    recipe = recipes.get("litert", "int8-all")
    given, floats, artifacts = _fp32(tiny_bundle, images)
    code = (
        "said['outputs'] = {}\n"
        "for name in ('base', 'gate', 'expert_00'):\n"
        "    part = LiteRT().open(open(f'{sys.argv[1]}/{name}.tflite', 'rb').read())\n"
        "    said['outputs'][name] = []\n"
        "    for x in np.load(f'{sys.argv[1]}/{name}.npy'):\n"
        "        part.invoke(x)\n"
        "        said['outputs'][name] += part.output('logits').tolist()"
    )
    for name, samples in given.items():
        np.save(tmp_path / f"{name}.npy", samples)
        (tmp_path / f"{name}.tflite").write_bytes(
            litert.calibrate_and_quantize(artifacts[name], samples, recipe)  # type: ignore[arg-type]
        )
    old, new = (run(python, code, tmp_path)["outputs"] for python in (old_python, sys.executable))
    mixture = load_checkpoint(tiny_checkpoint).mixture
    for name, part in (("base", mixture.base), ("gate", mixture.gate), ("expert_00", mixture.experts[0])):
        third = rounded(part, channels_first(given[name][:, 0]))
        third = (third.logits if name == "base" else third).numpy()
        errors = [relative_error(np.array(one), floats[name]) for one in (old[name], new[name], third)]
        assert max(errors[:2]) < ALLOWED * errors[2] < 0.5, (name, errors)


def _fp32(bundle: Path, images: list[Path]) -> tuple[dict[str, Any], dict[str, Any], dict[str, bytes]]:
    """Return, by part, what goes in, the logits that come out, and the artifact."""
    opened = Bundle(bundle)
    artifacts = opened.manifest.find("litert", "fp32").parts
    given: dict[str, list[Any]] = {"base": [], "gate": [], "expert_00": []}
    logits: dict[str, list[Any]] = {name: [] for name in given}
    with Runtime(opened, backend="litert", recipe="fp32") as model:
        base = model.part("base")
        for image in images:
            x = prepare(image, opened.manifest.preprocessing)
            base.invoke(x)
            inputs = {"base": x, "gate": base.output("embedding"), "expert_00": base.output("features")}
            for name, tensor in inputs.items():
                part = model.part(name)
                part.invoke(tensor)
                given[name].append(tensor)
                logits[name].append(part.output("logits")[0])
    return (
        {name: np.stack(tensors) for name, tensors in given.items()},
        {name: np.stack(tensors) for name, tensors in logits.items()},
        {name: opened.read(artifacts[name]) for name in given},
    )
