"""What a bundle may be replaced by; the whole is tested in test_convert."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_moe.converters import publishing
from edge_moe.converters.publishing import refuse_fewer
from edge_moe.errors import OutputError


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("litert",), "without onnx; add --backend litert,onnx, choose another target"),
        # Fewer, and other ones: half a bundle all the same.
        (("executorch",), "without litert, onnx; add --backend litert,onnx,executorch, choose another target"),
    ],
)
def test_fewer_backends_are_refused(monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], told: str) -> None:
    monkeypatch.setattr(publishing, "backends_of", lambda _: ("litert", "onnx"))
    with pytest.raises(OutputError, match=f"^bundle has litert, onnx, and --force would leave it {told}"):
        refuse_fewer(Path("bundle"), asked)


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ((), ("litert",)),
        (("litert",), ("onnx",)),
        (("litert", "onnx"), ("onnx", "executorch")),
        (("litert",), ("onnx", "litert")),
    ],
)
def test_as_many_are_what_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    monkeypatch.setattr(publishing, "backends_of", lambda _: there)
    refuse_fewer(Path("bundle"), asked)
