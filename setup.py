"""The packages, found: a folder with an __init__.py is one. Everything else stands in pyproject.toml.

`converters/` and `benchmarks/` lie beside `edge_moe/` and get their place in it when they are installed.
"""

from setuptools import find_packages, setup

BESIDE = {"converters": "edge_moe.converters", "benchmarks": "edge_moe.benchmarks"}

setup(
    packages=[
        *find_packages(include=["edge_moe", "edge_moe.*"]),
        *(
            BESIDE[name.split(".")[0]] + name[len(name.split(".")[0]) :]
            for name in find_packages(include=[pattern for top in BESIDE for pattern in (top, f"{top}.*")])
        ),
    ]
)
