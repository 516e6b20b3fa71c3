"""NPUs and their systems, by what a person types."""

from __future__ import annotations

import pytest

from edge_moe import UsageError
from edge_moe.benchmarks.targets.ethos_u.configs import MODES, NPUS, SYSTEMS, parse, systems


@pytest.mark.parametrize("npu", ["u55-128", "u55-256", "u65-256", "u65-512", "u85-256", "u85-512"])
def test_every_npu_has_a_system_and_both_places_for_weights(npu):
    config = parse(npu)
    assert npu in NPUS
    assert config.system == systems(npu)[0]
    outside, inside = config.modes
    assert (outside.weights in ("flash", "DRAM"), inside.weights, inside.name) == (True, "SRAM", "Sram_Only")


def test_what_executorch_takes_by_itself_is_the_default():
    found = {npu: parse(npu).system for npu in ("u55-256", "u65-512", "u85-256")}
    assert found == {
        "u55-256": "Ethos_U55_High_End_Embedded",
        "u65-512": "Ethos_U65_High_End",
        "u85-256": "Ethos_U85_SYS_DRAM_Mid",
    }


def test_more_that_is_known_of_the_chip():
    config = parse("u55-256,sram=2048,system=Ethos_U55_Deep_Embedded,weights=sram")
    assert (config.sram_kib, config.system) == (2048, "Ethos_U55_Deep_Embedded")
    assert [mode.name for mode in config.modes] == ["Sram_Only", "Shared_Sram"]
    assert parse("u55-256,weights=flash") == parse("u55-256")
    assert {one.memory for one in SYSTEMS.values()} == MODES.keys()


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("u55", "unknown device 'ethos-u:u55'; expected one of ethos-u:u55-256, "),
        ("U55-256", "unknown device"),
        ("u55-256,", "says ''; expected system=NAME, sram=KIB or weights=sram"),
        ("u55-256,clock=1", "says 'clock=1'"),
        ("u55-256,sram=1,sram=2", "says 'sram=2'"),
        (
            "u55-256,system=Ethos_U65_High_End",
            "unknown system 'Ethos_U65_High_End' for ethos-u:u55-256; ",
        ),
        ("u55-256,sram=0", "sram is '0'; expected how many KiB"),
        ("u55-256,sram=2MB", "sram is '2MB'"),
        ("u55-256,weights=dram", "weights is 'dram' for ethos-u:u55-256; expected flash or sram"),
    ],
)
def test_what_is_none(parameter, words):
    with pytest.raises(UsageError, match=words):
        parse(parameter)
