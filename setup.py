"""The packages, found: a folder with an __init__.py is one. Everything else stands in pyproject.toml.

`converters/` and `benchmarks/` lie beside `edge_moe/` and get their place in it when they are installed. The studies
are in no wheel: they make the tables of the documentation, from a checkout, where an editable install finds them.
"""

from setuptools import find_packages, setup

BESIDE = {"converters": "edge_moe.converters", "benchmarks": "edge_moe.benchmarks"}
LEFT_OUT = ("benchmarks.studies", "benchmarks.studies.*")

setup(
    packages=[
        *find_packages(include=["edge_moe", "edge_moe.*"]),
        *(
            BESIDE[name.split(".")[0]] + name[len(name.split(".")[0]) :]
            for name in find_packages(include=[p for top in BESIDE for p in (top, f"{top}.*")], exclude=LEFT_OUT)
        ),
    ]
)
