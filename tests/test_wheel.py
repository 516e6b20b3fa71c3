"""What is installed: one top-level package, with converters/ and benchmarks/ at their place inside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "benchmarks/studies").rglob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, target = tmp_path_factory.mktemp("wheel") / "source", tmp_path_factory.mktemp("dist")
    for folder in ("edge_moe", "converters", "benchmarks"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    # What a build that had the studies leaves behind; setuptools takes it up.
    (source / "edge_moe.egg-info").mkdir()
    left = "".join(f"{file.relative_to(ROOT).as_posix()}\n" for file in STUDIES)
    (source / "edge_moe.egg-info/SOURCES.txt").write_text(left)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(target)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (file,) = target.glob("*.whl")
    return file


def test_the_only_top_level_name_is_edge_moe(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"edge_moe"}
    wanted = {
        f"edge_moe/{folder}{file.relative_to(ROOT / (folder or 'edge_moe'))}"
        for folder in ("converters/", "benchmarks/", "")
        for file in (ROOT / (folder or "edge_moe")).rglob("*.py")
        if file not in STUDIES
    }
    wanted |= {f"edge_moe/benchmarks/report/{name}" for name in ("page.html.j2", "page.css", "page.js", "prose.j2")}
    native = [file for file in (ROOT / "benchmarks").rglob("*") if file.suffix in (".c", ".cpp", ".h")]
    assert len(native) == 7
    wanted |= {f"edge_moe/{file.relative_to(ROOT)}" for file in native}
    assert wanted <= set(names)
    assert "edge_moe/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_studies_are_in_no_wheel_but_in_the_environment_of_a_checkout(wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "studies" in name]
    code = "from edge_moe.benchmarks.studies import contact_sheet; print(contact_sheet.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) in STUDIES


def test_the_wheel_works_without_the_checkout(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import importlib.util, edge_moe.converters.recipes, edge_moe.benchmarks.results\n"
        "print(edge_moe.converters.recipes.__file__)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "edge_moe/converters/recipes.py")


def test_what_is_installed_here():
    for name in ("converters", "benchmarks"):
        code = f"import importlib.util as u; print(u.find_spec({name!r}), u.find_spec('edge_moe.{name}') is not None)"
        done = subprocess.run([sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["None", "True"]
