"""The release of ExecuTorch after the pinned one, in a folder of its own: the same programs, the same answers.

It is linked to the same torch, which comes from the environment; converting stays with the pinned one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.backends.test_executorch import Tiny, X, convert, maps

pytestmark = pytest.mark.devices

NEWER = "executorch==1.5.1"
ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
import executorch
import numpy as np
from edge_moe.backends.executorch import ExecuTorch
executorch.__path__ = list(executorch.__path__)[:1]  # a namespace, in which the environment's own would be found too
file, inputs, out = sys.argv[1:]
part = ExecuTorch().open(open(file, "rb").read(), threads=2)
found = {}
for index, x in enumerate(np.load(inputs)):
    part.invoke(x)
    found |= {f"{name}{index}": part.output(name) for name in ("logits", "features", "embedding")}
np.savez(out, **found)
print(sys.modules["executorch.extension.pybindings.NAME"].__file__)
print(part.tensors().inputs[0].shape)
part.close()
"""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("executorch")
    install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", str(folder), NEWER]
    subprocess.run([sys.executable, *install], check=True)
    return folder


def answers(folder: Path, name: str, path: list[str]) -> tuple[dict[str, np.ndarray], str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
    arguments = [str(folder / "part.pte"), str(folder / "inputs.npy"), str(folder / f"{name}.npz")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("NAME", name), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    with np.load(folder / f"{name}.npz") as found:
        return dict(found), done.stdout


def test_the_answers_are_those_of_the_pinned_release(newer: Path, tmp_path: Path) -> None:
    (tmp_path / "part.pte").write_bytes(convert(Tiny(), maps(X)))
    inputs = np.random.default_rng(1).standard_normal((5, *X.shape)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    old, said_by_old = answers(tmp_path, "_portable_lib", [])
    new, said_by_new = answers(tmp_path, "_C", [str(newer)])
    assert str(newer) in said_by_new and str(newer) not in said_by_old
    assert said_by_new.splitlines()[1] == said_by_old.splitlines()[1]
    assert old.keys() == new.keys() and len(old) == 15
    for name, expected in old.items():
        np.testing.assert_allclose(new[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
