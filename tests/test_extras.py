"""Each extra is enough for its job, and what is not installed is named with the extra that brings it.

Nothing is installed: an environment is made of links to those of the packages here that pip would install for the
extra, so that imports, `find_spec` and versions are what they would be there, in child processes too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edge_moe import Runtime, __version__
from edge_moe.backends import get, native, record
from edge_moe.bundle import Bundle
from edge_moe.cli.extras import _EXTRAS, extra_of, tools

BACKENDS = native()  # an NPU's has no extra: it has a set-up
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
OURS = {"edge_moe": "edge_moe", "converters": "edge_moe/converters", "benchmarks": "edge_moe/benchmarks"}
JOBS = ("litert", "onnx", "executorch", "cli", "train", "convert", "bench", "web", "adb")  # every extra but all and dev


def direct(extra: str) -> list[Requirement]:
    """The requirements of an extra of this package; "" is what comes without one."""
    return [Requirement(text) for text in (OPTIONAL[extra] if extra else PROJECT["dependencies"])]


def closure(*extras: str) -> dict[str, metadata.Distribution]:
    """The installed distributions that pip would install for `edge-moe[extras]`, by canonical name."""
    found: dict[str, metadata.Distribution] = {}
    seen = set()
    todo = [Requirement(f"edge-moe[{','.join(extras)}]")]
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if name == "edge-moe":  # not as it was once installed, but as it is
                needs = direct(extra)
            else:
                found[name] = metadata.distribution(name)
                needs = [Requirement(text) for text in found[name].requires or ()]
            todo += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


def top_level(distribution: metadata.Distribution) -> Iterator[str]:
    """Names in site-packages that belong to a distribution."""
    record = distribution.read_text("RECORD")
    assert record is not None
    names = {line.strip('"').split("/")[0].split(",")[0] for line in record.splitlines()}
    yield from names - {"..", "__pycache__", ""}


def modules(distribution: metadata.Distribution) -> set[str]:
    """Names to import, without files that are no modules."""
    tops = (name for name in top_level(distribution) if not name.endswith((".dist-info", ".libs", ".pth")))
    return {name.split(".")[0] for name in tops if not name.startswith("_")}


def make_environment(folder: Path, *extras: str) -> Path:
    """Make an environment for `edge-moe[extras]` and return its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/*/site-packages")
    for distribution in closure(*extras).values():
        for name in top_level(distribution):
            link(packages / name, Path(str(distribution.locate_file(name))))
    described = packages / f"edge_moe-{__version__}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: edge-moe\nVersion: {__version__}\n")
    for source, target in OURS.items():
        (packages / target).mkdir()
        for file in (ROOT / source).iterdir():
            if file.name != "__pycache__":
                link(packages / target / file.name, file)
    return folder / "bin" / "python"


def link(path: Path, target: Path) -> None:
    if not path.exists() and target.exists():
        path.symlink_to(target)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """environment("litert", "bench") -> the interpreter of an environment with these extras."""
    made: dict[tuple[str, ...], Path] = {}

    def environment(*extras: str) -> Path:
        if extras not in made:
            made[extras] = make_environment(tmp_path_factory.mktemp("-".join(extras) or "none"), *extras)
        return made[extras]

    return environment


def run(python: Path, code: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"},
        cwd="/",
        capture_output=True,
        text=True,
    )


def said(python: Path, code: str, *arguments: Any) -> Any:
    """What `code` printed last, as JSON."""
    done = run(python, code, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def edge_moe(python: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return run(python, "from edge_moe.cli import main; main()", *arguments)


def refused(done: subprocess.CompletedProcess[str], extra: str) -> None:
    """Assert that one line names the extra to install."""
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("edge-moe: error: ")
    assert f"pip install 'edge-moe[{extra}]'" in line


# What the environments are made of.


@pytest.mark.parametrize("extra", ["", *OPTIONAL])
def test_what_is_installed_here_is_what_is_required(extra):
    for need in direct(extra):
        if canonicalize_name(need.name) != "edge-moe":
            assert need.specifier.contains(metadata.version(need.name), prereleases=True), need
        assert set(need.extras) <= set(OPTIONAL) or need.name != "edge-moe"


def test_all_is_every_extra():
    assert closure("all").keys() == closure(*JOBS).keys()
    assert {"all", "dev", *JOBS} == set(OPTIONAL)
    assert closure("all").keys() < closure("dev").keys()


@pytest.mark.parametrize("extra", ["litert", "onnx", "cli", "bench", "web", "adb"])
def test_what_a_device_gets_is_without_torch(extra):
    assert "torch" in closure("train")
    assert "torch" not in closure(extra)


def test_the_extra_that_is_named_brings_the_package():
    of_backends = {name for backend in BACKENDS for name in record(backend).imports}
    for package in {*_EXTRAS, *of_backends}:
        extra = extra_of(package)
        assert package in set().union(*map(modules, closure(extra).values())), package
    convert = set().union(*map(modules, closure("convert").values()))
    for backend in BACKENDS:
        assert convert >= set(tools(backend))
    assert extra_of("numpy") is None


@pytest.mark.parametrize("extras", [(), ("litert",), ("onnx", "cli")])
def test_an_environment_has_these_packages_and_no_others(environment, extras):
    inside = closure(*extras)
    here = {canonicalize_name(one.name): one for one in metadata.distributions() if one.name != "edge-moe"}
    importable = set().union(*map(modules, inside.values())) | {"edge_moe"}
    pythons = sys.stdlib_module_names | {"test"}
    outside = set().union(*map(modules, here.values())) - importable - pythons
    code = (
        "import importlib.util as u, json, sys\nfrom importlib import metadata\n"
        "wanted = json.loads(sys.argv[1])\n"
        "print(json.dumps([[n for n in wanted if u.find_spec(n)], [d.name for d in metadata.distributions()]]))"
    )
    found, installed = said(environment(*extras), code, json.dumps(sorted(importable | outside)))
    assert set(found) == importable
    assert {canonicalize_name(name) for name in installed} == inside.keys() | {"edge-moe"}
    assert {"torch", "typer"} & outside


# The jobs.

ANSWER = """
import json, sys
from edge_moe import Runtime
bundle, backend, image = sys.argv[1:]
with Runtime(bundle, backend=backend, tau=0.0) as model:
    one = model.predict(image)
print(json.dumps([one.label, one.experts, one.scores.tolist(), "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def image(tiny_images: Path) -> Path:
    return min((tiny_images / "val").rglob("*.png"))


# The bundle has none for executorch, for they take long to make; see test_each_backend_opens_what_was_converted.
@pytest.mark.parametrize("backend", ["litert", "onnx"])
def test_the_extra_of_a_backend_answers(environment, tiny_bundle, image, backend):
    with Runtime(tiny_bundle, backend=backend, tau=0.0) as model:
        expected = model.predict(image)
    label, experts, scores, torch = said(environment(backend), ANSWER, tiny_bundle, backend, image)
    assert (label, tuple(experts)) == (expected.label, expected.experts)
    assert scores == pytest.approx(expected.scores.tolist(), rel=1e-3)
    assert not torch


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_the_extra_of_a_backend(environment, tiny_bundle, image, backend):
    others = [one for one in ("litert", "onnx") if one != backend]  # executorch brings torch
    code = (
        "import json, sys\nfrom edge_moe import MissingExtraError\nfrom edge_moe.backends import get\n"
        "errors = []\n"
        "for use in (lambda: get(sys.argv[1]).open(b''), get(sys.argv[1]).version):\n"
        "    try:\n        use()\n    except MissingExtraError as error:\n        errors.append(str(error))\n"
        "print(json.dumps(errors))"
    )
    for extras in ((), tuple(others)):
        errors = said(environment(*extras), code, backend)
        assert [f"run: pip install 'edge-moe[{backend}]'" in error for error in errors] == [True, True]
    if backend in {one.backend for one in Bundle(tiny_bundle).manifest.sets}:
        refused(edge_moe(environment("cli"), "run", tiny_bundle, image, "--backend", backend), backend)


def test_cli_inspects(environment, tiny_bundle):
    done = edge_moe(environment("cli"), "inspect", tiny_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert "expert_00" in done.stdout


def test_without_cli(environment, tiny_bundle):
    refused(edge_moe(environment("litert"), "inspect", tiny_bundle), "cli")


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["macs"], "train"),
        (["init", "-o", "OUT"], "train"),
        (["train", "IMAGES", "-o", "OUT"], "train"),
        (["train", "digits", "-o", "OUT"], "train"),
        (["bench", "BUNDLE", "--data", "IMAGES", "-o", "OUT"], "bench"),
        (["choose", "BUNDLE", "--results", "OUT", "--exit-rate", "0"], "bench"),
        (["simulate", "BUNDLE", "--profile", "OUT", "--data", "IMAGES"], "bench"),
        (["report", "OUT", "-o", "OUT"], "bench"),
        *((["convert", "CHECKPOINT", "--data", "noise", "-o", "OUT", "--backend", one], "convert") for one in BACKENDS),
    ],
)
def test_what_cli_alone_cannot_do(environment, tiny_bundle, tiny_checkpoint, tiny_images, tmp_path, arguments, extra):
    places = {"BUNDLE": tiny_bundle, "CHECKPOINT": tiny_checkpoint, "IMAGES": tiny_images, "OUT": tmp_path / "out"}
    refused(edge_moe(environment("cli"), *(places.get(word, word) for word in arguments)), extra)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_conversion_without_its_tools_does_not_start(environment, tiny_checkpoint, tmp_path, backend):
    arguments = (tiny_checkpoint, "--data", "noise", "-o", tmp_path / "out", "--backend", backend)
    refused(edge_moe(environment("train", "bench"), "convert", *arguments), "convert")
    assert list(tmp_path.iterdir()) == []


def test_train_trains(environment, tiny_images, tmp_path):
    few = ("--image-size", "32", "--experts", "2", "--epochs", "1", "--expert-epochs", "1", "--jobs", "1")
    done = edge_moe(environment("train"), "train", tiny_images, "-o", tmp_path / "out", *few)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "expert_01.safetensors").is_file()


def test_bench_measures(environment, tiny_bundle, tiny_images, tmp_path):
    few = ("--backend", "litert", "--images", "2", "--validation-images", "6", "--rounds", "1", "--tau", "0.2")
    arguments = (tiny_bundle, "--data", tiny_images, "-o", tmp_path / "out", *few)
    done = edge_moe(environment("litert", "bench"), "bench", *arguments)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").glob("*.png"))
    results = tmp_path / "out" / "results.json"
    for arguments in (
        ("choose", tiny_bundle, "--results", results, "--exit-rate", "0"),
        ("simulate", tiny_bundle, "--profile", results, "--data", tiny_images),
    ):
        done = edge_moe(environment("litert", "bench"), *arguments)
        assert done.returncode == 0, done.stderr


CONVERT = """
import importlib, json, pkgutil, sys
from pathlib import Path
import numpy as np
from edge_moe import backends, converters
for module in pkgutil.iter_modules(converters.__path__):
    importlib.import_module(f"edge_moe.converters.{module.name}")
from edge_moe.converters import layers, layers_picture, recipes, toolchain
from edge_moe.training.checkpoint import load_checkpoint
gate = load_checkpoint(Path(sys.argv[1])).mixture.gate.eval()
folder = Path(sys.argv[2])
samples = np.load(folder / "samples.npy")
said = {}
for backend in backends.native():
    tools = toolchain.get(backend)
    graph = tools.trace(gate, "gate", samples[0])
    wanted = [recipes.get(backend, name) for name in ("int8", "fp32")]
    int8, fp32 = tools.build(graph, gate, "gate", samples, wanted)
    said[backend] = [len(int8), len(fp32), tools.structure(fp32)]
    ranked = layers.rank(tools.compare(graph, gate, "gate", samples, wanted[0]))
    layers_picture.draw({backend: ranked})
    (folder / f"gate.{backend}").write_bytes(fp32)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def converted(environment, tiny_bundle, tiny_checkpoint, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The folder with gate.<backend> and what it was converted from, and what the conversion said."""
    folder = tmp_path_factory.mktemp("converted")
    (embedding,) = Bundle(tiny_bundle).manifest.parts["gate"].inputs
    np.save(folder / "samples.npy", np.random.default_rng(0).uniform(0, 2, (4, *embedding.shape)).astype(np.float32))
    return folder, said(environment("convert"), CONVERT, tiny_checkpoint, folder)


def test_convert_converts(converted):
    _, sizes = converted
    assert set(sizes) == set(BACKENDS)
    for int8, fp32, structure in sizes.values():
        assert 0 < int8 != fp32 > 0
        assert structure in (None, [1, 0, []])


GATE = """
import json, sys
import numpy as np
from edge_moe.backends import get
backend = get(sys.argv[1])
part = backend.open(open(f"{sys.argv[2]}/gate.{sys.argv[1]}", "rb").read())
logits = []
for sample in np.load(f"{sys.argv[2]}/samples.npy"):
    part.invoke(sample)
    logits += part.output("logits").tolist()
print(json.dumps([logits, backend.version()]))
"""


def test_each_backend_opens_what_was_converted(environment, converted):
    folder, _ = converted
    logits = {}
    for backend in BACKENDS:
        logits[backend], version = said(environment(backend), GATE, backend, folder)
        assert version == get(backend).version()
    assert np.ptp(logits["litert"], axis=0).min() > 0
    for backend in BACKENDS:
        np.testing.assert_allclose(logits[backend], logits["litert"], rtol=1e-4, atol=1e-5)
