"""The checkpoint's config: read without torch, and as the last release wrote it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_moe.checkpoint import SCHEMA_VERSION, TrainingConfig, read_config, write_config
from edge_moe.errors import CheckpointError
from tests.test_import import HEAVY, imported_by
from tests.tiny import DATA

OLD = DATA / "checkpoint-schema-1"  # trained by release 0.1.0 with `--base-weights ... --finetune none`


def test_a_config_is_read_without_torch():
    found = imported_by(
        f"from edge_moe.checkpoint import read_config\nread_config(__import__('pathlib').Path({str(OLD)!r}))"
    )
    assert found & HEAVY == set()


def test_schema_1_is_read_as_what_was_done():
    raw = json.loads((OLD / "config.json").read_text())
    assert (raw["schema_version"], raw["training"]["epochs"], raw["training"]["learning_rate"]) == (1, 30, 0.1)
    config = read_config(OLD)
    assert (config.schema_version, config.experts, config.metrics) == (SCHEMA_VERSION, 1, raw["metrics"])
    assert config.training is not None
    same = {name: value for name, value in raw["training"].items() if name not in ("epochs", "learning_rate")}
    assert config.training == TrainingConfig(**same, epochs=None, learning_rate=None)


def test_the_weights_of_schema_1_answer_as_they_did():
    torch = pytest.importorskip("torch")
    from edge_moe.training.checkpoint import load_checkpoint
    from tests.fixed import uniform

    with torch.no_grad():
        found = load_checkpoint(OLD).mixture(torch.from_numpy(uniform(5, 1, 3, 32, 32)))
    # By release 0.1.0.
    expected = [-0.0507504, 0.3379359, 0.0537859], [-0.5875673], [-0.0415192, 0.3294110, 0.0526960]
    for part, values in zip(found, expected, strict=True):
        torch.testing.assert_close(part.flatten(), torch.tensor(values), rtol=1e-4, atol=1e-5)


def test_what_is_written_is_read_and_is_schema_2(tmp_path):
    config = read_config(OLD)
    write_config(tmp_path, config)
    raw = json.loads((tmp_path / "config.json").read_text())
    assert (raw["schema_version"], raw["training"]["epochs"], raw["training"]["finetune"]) == (2, None, "none")
    assert read_config(tmp_path) == config


@pytest.mark.parametrize(
    ("version", "todo"), [(3, "update edge-moe, or train or import again"), ("2", "train or import again")]
)
def test_another_version_says_what_to_do(tmp_path, version, todo):
    shutil.copytree(OLD, tmp_path / "c")
    file = tmp_path / "c" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": version}))
    with pytest.raises(CheckpointError, match=rf"schema version {version}; this edge-moe reads 1 and 2: {todo}"):
        read_config(Path(tmp_path / "c"))


def test_what_was_not_carried_out_has_no_settings():
    plan = TrainingConfig(data="digits", base_weights="base.pth", finetune="none", epochs=5)
    assert plan.carried_out(2) == TrainingConfig(
        data="digits", base_weights="base.pth", finetune="none", epochs=None, learning_rate=None
    )
    alone = TrainingConfig(data="digits").carried_out(0)
    assert (alone.epochs, alone.learning_rate) == (30, 0.1)
    for name in ("normalization", "kmeans_restarts", "gate_epochs", "gate_learning_rate"):
        assert getattr(alone, name) is None
    for name in ("epsilon", "expert_epochs", "expert_learning_rate"):
        assert getattr(alone, name) is None
    assert TrainingConfig(data="digits").carried_out(1) == TrainingConfig(data="digits")
