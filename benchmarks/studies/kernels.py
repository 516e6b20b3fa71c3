"""How far right kernels are apart: the same artifacts, fed the same numbers, on two processors.

    python -m edge_moe.benchmarks.studies.kernels answers BUNDLE... -o here.npz                      # on one
    python -m edge_moe.benchmarks.studies.kernels answers BUNDLE... --like here.npz -o there.npz     # on the other
    python -m edge_moe.benchmarks.studies.kernels compare here.npz there.npz

Every part of every set is fed what the first processor fed it, so that differences do not add up from part to part;
then the whole is asked as an app would. The largest difference seen between right kernels decides how far a device may
be off before `edge-moe verify` says that it computes something else: `edge_moe/converters/tolerances.py`.
`--unmended` opens ONNX sessions as if nobody had looked whether the processor's products saturate.
"""

from __future__ import annotations

import argparse
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_moe import Runtime, backends
from edge_moe.backends import onnx_session
from edge_moe.bundle import GOLDEN_FEED, ArtifactSet, Bundle
from edge_moe.data import NOISE, open_data
from edge_moe.errors import DataError
from edge_moe.output import write_file
from edge_moe.verify import relative_error

__all__ = ["answers", "compare", "main"]

Arrays = dict[str, npt.NDArray[np.float32]]  # "bundle backend/recipe image tensor" -> values
_IMAGES = 4


def answers(bundles: Sequence[Path], images: int, like: Arrays | None) -> Arrays:
    """Return what every part of every set gives for some noise, with what it was fed: of `like` where that is given.

    Raises:
        DataError: `like` is of other bundles.
    """
    found: Arrays = {}
    for path in bundles:
        bundle = Bundle(path)
        inputs = list(open_data(NOISE, "val").sample(images).tensors(bundle.manifest.preprocessing))
        for artifacts in bundle.manifest.sets:
            name = f"{path.name} {artifacts.key}"
            for number, (tensors, whole) in enumerate(_of_set(bundle, artifacts, inputs, like, name)):
                found |= {f"{name} {number} {tensor}": value for tensor, value in (tensors | whole).items()}
    return found


def _of_set(
    bundle: Bundle, artifacts: ArtifactSet, inputs: Sequence[npt.NDArray[np.float32]], like: Arrays | None, name: str
) -> Iterator[tuple[Arrays, Arrays]]:
    """Yield for each image what the parts were fed and gave, and what the whole answered."""
    engine, manifest = backends.get(artifacts.backend), bundle.manifest
    parts = {part: engine.open(bundle.read(artifact)) for part, artifact in artifacts.parts.items()}
    most = min(2, manifest.experts)
    with Runtime(bundle, backend=artifacts.backend, recipe=artifacts.recipe.name, tau=0.0, max_experts=most) as runtime:
        for number, image in enumerate(inputs):
            given = {"input": image} if like is None else _given(like, f"{name} {number} ")
            tensors: Arrays = {"input": given["input"]}
            for part, spec in manifest.parts.items():
                feed = GOLDEN_FEED[spec.kind]
                parts[part].invoke(given[feed] if feed in given else tensors[feed])
                for output in spec.outputs:
                    tensors[f"{part}.{output.name}"] = parts[part].output(output.name)
            answer = runtime.predict_tensor(tensors["input"])
            whole = {"answer.scores": answer.scores, "answer.experts": np.array(answer.experts, np.float32)}
            yield tensors, {key: np.asarray(value, np.float32) for key, value in whole.items()}
    for opened in parts.values():
        opened.close()


def _given(like: Arrays, prefix: str) -> Arrays:
    given = {feed: like[prefix + feed] for feed in GOLDEN_FEED.values() if prefix + feed in like}
    if "input" not in given:
        raise DataError(f"there is no {prefix}input in the other processor's answers; give the same bundles and images")
    return given


def compare(here: Arrays, there: Arrays) -> dict[str, dict[str, float]]:
    """Return "bundle backend/recipe" -> the largest relative error of a part's output, and of the answer's scores.

    An image for which other experts were chosen counts as `rerouted`, and not for the scores.

    Raises:
        DataError: the two are not of the same sets and images.
    """
    if here.keys() != there.keys():
        raise DataError("the two files are not of the same bundles and images; make the second with --like the first")
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"parts": 0.0, "answer": 0.0, "rerouted": 0})
    for key, value in here.items():
        *words, number, tensor = key.split(" ")
        row = found[" ".join(words)]
        prefix = f"{' '.join(words)} {number} "
        rerouted = not np.array_equal(here[prefix + "answer.experts"], there[prefix + "answer.experts"])
        if tensor == "answer.experts":
            row["rerouted"] += rerouted
        elif tensor == "answer.scores":
            row["answer"] = max(row["answer"], 0.0 if rerouted else relative_error(there[key], value))
        elif tensor != "input":
            row["parts"] = max(row["parts"], relative_error(there[key], value))
    return dict(found)


def _load(file: Path) -> Arrays:
    with np.load(file) as arrays:
        return dict(arrays)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write answers, or compare two files of them and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_moe.benchmarks.studies.kernels", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("answers")
    make.add_argument("bundles", nargs="+", type=Path)
    make.add_argument("-o", "--output", type=Path, required=True)
    make.add_argument("--like", type=Path)
    make.add_argument("--images", type=int, default=_IMAGES)
    make.add_argument("--unmended", action="store_true")
    look = commands.add_parser("compare")
    look.add_argument("files", nargs=2, type=Path)
    given = parser.parse_args(arguments)
    if given.command == "answers":
        if given.unmended:
            onnx_session.saturates = lambda: False  # type: ignore[assignment]
        buffer = io.BytesIO()
        arrays = answers(given.bundles, given.images, _load(given.like) if given.like else None)
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_file(given.output, buffer.getvalue())
        return
    print("| bundle | set | a part's output | the answer's scores | other experts |\n|---|---|---:|---:|---:|")
    for name, row in compare(*(_load(file) for file in given.files)).items():
        bundle, artifacts = name.rsplit(" ", 1)
        print(f"| {bundle} | {artifacts} | {row['parts']:.1e} | {row['answer']:.1e} | {row['rerouted']:.0f} |")


if __name__ == "__main__":
    main()
