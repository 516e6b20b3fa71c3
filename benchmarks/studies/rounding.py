"""How far a device's answers are from this host's, where it rounds elsewhere: what its own tolerance follows from.

    python -m edge_moe.benchmarks.studies.rounding BUNDLE --data DATA --device qnn:QCS9100 --set onnx/int8-stock

Every part is fed what the host's parts give, so that differences do not add up from part to part.

Axis letters: N images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_moe import backends
from edge_moe.backends import Tensor
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.elsewhere import Run, run_each
from edge_moe.bundle import GOLDEN_FEED, ArtifactSet, Bundle
from edge_moe.data import NOISE, open_data
from edge_moe.sets import patterns
from edge_moe.verify import relative_error

__all__ = ["differences", "main"]

_IMAGES = 60


def differences(run: Run, bundle: Bundle, artifacts: ArtifactSet, images: Tensor) -> dict[str, npt.NDArray[np.float64]]:
    """Return "part.output" -> [N] relative errors of what `run` gives, beside what the backend gives here.

    Args:
        run: as `Target.outputs`.
        bundle: of the artifacts.
        artifacts: the set.
        images: [N, ...], what the base is fed.
    """
    engine, found = backends.get(artifacts.backend), dict[str, npt.NDArray[np.float64]]()
    fed = {"input": images}
    for part, spec in sorted(bundle.manifest.parts.items(), key=lambda one: one[1].kind != "base"):
        given, opened = fed[GOLDEN_FEED[spec.kind]], engine.open(bundle.read(artifacts.parts[part]))
        here = run_each(opened, [one.name for one in spec.outputs], given)
        opened.close()
        fed |= {f"{part}.{name}": values for name, values in here.items()}
        for name, there in run(bundle, artifacts, part, given).items():
            found[f"{part}.{name}"] = np.array([relative_error(*pair) for pair in zip(there, here[name], strict=True)])
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_moe.benchmarks.studies.rounding", description=__doc__.splitlines()[0]
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", default=NOISE)
    parser.add_argument("--device", required=True)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--images", type=int, default=_IMAGES)
    given = parser.parse_args(arguments)
    bundle, target = Bundle(given.bundle), targets.get(given.device)
    images = open_data(given.data, "val").sample(given.images).tensors(bundle.manifest.preprocessing)
    tensors = np.concatenate(list(images))
    print("| set | output | median | largest |\n|---|---|---:|---:|")
    for artifacts in bundle.manifest.select(patterns(given.sets)):
        for name, errors in differences(target.outputs, bundle, artifacts, tensors).items():
            print(f"| {artifacts.key} | {name} | {np.median(errors):.1e} | {errors.max():.1e} |", flush=True)


if __name__ == "__main__":
    main()
