"""Which images become golden samples, by hand; and the files that they become."""

from __future__ import annotations

import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_moe import Bundle, Runtime
from edge_moe.bundle import Preprocessing
from edge_moe.checkpoint import read_config
from edge_moe.converters import golden
from edge_moe.converters.golden_choice import NEEDED, SURE_EXIT, Fitness, Role, candidates, fitness, roles, unlike
from edge_moe.converters.golden_image import golden_image
from edge_moe.data import open_data
from edge_moe.evaluate import Outputs, collect, route
from edge_moe.preprocess import normalize, prepare

SPEC = Preprocessing(image_size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def outputs(*rows):
    """Each row: base's [Y], gate's [K], experts' [K, Y] logits."""
    return Outputs(*(np.array([row[i] for row in rows], np.float32) for i in range(3)))


SURE = ([9, 0, 0], [3, 0], [[0, 0, 0], [0, 0, 0]])  # exits at tau 1/2, and at tau 0 the first expert runs
FIRST = ([1, 0, 0], [3, 0], [[0, 4, 0], [0, 0, 0]])  # the first expert makes it class 1
SECOND = ([1, 0, 0], [0, 3], [[0, 4, 0], [3, 0, 0]])  # the second one says what the base says, and more surely
TORN = ([1, 0, 0], [1, 1 - 1e-4], [[0, 4, 0], [0, 4, 0]])  # which expert runs is a matter of the last bits
DULL = ([1, 0, 0], [0, 3], [[0, 0, 0], [0, 0, 0]])  # the second one has nothing to say
ROWS = outputs(SURE, FIRST, SECOND, TORN, DULL)


def tiers(tolerance=1e-3):
    found = fitness(ROWS, tolerance, "bagging", "logit")
    return {name: one.tier.tolist() for name, one in found.items()}


def test_roles():
    assert [one.name for one in roles(2)] == ["exit", "expert_00", "expert_01", "top 2"]
    assert [one.name for one in roles(1)] == ["exit", "expert_00"]
    assert roles(0) == (Role("exit", 1.0, 0),)
    assert {(one.tau, one.max_experts) for one in roles(3) if one.expert is not None} == {(0.0, 1)}


def test_who_fits_what():
    assert tiers() == {
        "exit": [1, 1, 1, 1, 1],  # the base's doubt is 0.42 and less
        "expert_00": [1, 3, 0, 0, 0],  # TORN is not clear
        "expert_01": [0, 0, 2, 0, 1],
        "top 2": [1, 3, 2, 3, 1],
    }


def test_what_right_kernels_may_do_decides_what_is_clear():
    """TORN's gates are 1e-4 apart, of a norm of 1.41: clear at a tolerance of 1e-6, not at 1e-4."""
    assert tiers(1e-6)["expert_00"][3] == 3
    assert tiers(1e-4)["expert_00"][3] == 0
    clear = fitness(ROWS, 1e-6, "bagging", "logit")["expert_00"].clearness
    assert clear[3] == pytest.approx(1e-4 / (2e-6 * np.sqrt(2)), rel=0.01)
    assert clear[3] > NEEDED


def test_an_exit_is_clear_where_the_doubt_is_far_from_one_half():
    """Of a largest probability of 0.5017: whether it exits at tau 1/2 is a matter of the last bits."""
    rows = outputs(([5, 0, 0], [0, 0], [[0] * 3] * 2), ([0.7, 0, 0], [0, 0], [[0] * 3] * 2))
    assert fitness(rows, 1e-2, "bagging", "logit")["exit"].tier.tolist() == [1, 0]


def test_a_plain_network_has_exits_alone(own_checkpoint):
    rows = Outputs.of_base(np.array([[5.0, 0], [0.1, 0]]))
    assert fitness(rows, 1e-2, "bagging", "logit")["exit"].tier.tolist() == [1, 1]
    plain = msgspec.structs.replace(read_config(own_checkpoint), experts=0)
    assert list(golden._fits(rows, 1e-2, plain)) == [Role("exit", 1.0, 0)]  # and no other in its place


def fit(tier, clearness):
    return Fitness(np.array(tier), np.array(clearness, float))


def test_the_best_of_the_set_that_others_share():
    a, b = fit([3, 3, 2, 0], [5, 9, 99, 0]), fit([3, 2, 3, 3], [6, 9, 9, 50])
    assert candidates({"a": a, "b": b}, "a", []) == [0, 1, 2]  # 0 has tier 3 in both; 1 is clearer, but not for b
    assert candidates({"a": a, "b": b}, "b", [])[0] == 0
    assert candidates({"a": a, "b": b}, "b", [3])[0] == 3  # there already, and as good
    assert candidates({"a": a, "b": b}, "a", [2])[0] == 0  # there already, but not as good
    assert candidates({"a": fit([0, 0], [9, 9])}, "a", [0]) == []
    assert candidates({"a": fit([1, 1, 1], [3, 5, 4])}, "a", [], most=2) == [1, 2]


def test_what_tells_an_answer_from_the_base_s():
    for row, expected in ((SURE, None), (FIRST, "label"), (SECOND, "probabilities"), (DULL, None)):
        one = outputs(row)
        assert unlike(one, route(one, 0.0, 1, "bagging", "logit"), 0.01) == expected
    one = outputs(FIRST)
    assert unlike(one, route(one, 1.0, 1, "bagging", "logit"), 0.01) is None  # an exit is the base's answer


@pytest.fixture
def written(own_bundle, own_checkpoint, tiny_images, tmp_path):
    """written(name) -> what `write_golden` writes for the onnx/fp32 set of `own_bundle`; and that set."""
    bundle, config = Bundle(own_bundle), read_config(own_checkpoint)
    one = bundle.manifest.find("onnx", "fp32")
    images = open_data(tiny_images, "val").with_classes(config.labels)
    with Runtime(bundle, backend="onnx", recipe="fp32") as model:
        outputs = collect(model.part, config.experts, images.tensors(config.preprocessing))
    files = {one.key: {part: own_bundle / artifact.file for part, artifact in one.parts.items()}}
    given = (files, {one.key: outputs}, images, bundle.manifest.parts, config)

    def write(name):
        inputs, found = golden.write_golden(tmp_path / name, *given)
        return inputs, found[one.key]

    return write, one, bundle.manifest


def test_where_a_part_is_unsteady_no_sample_hangs_on_it(written, tmp_path, monkeypatch, caplog):
    """A base that right kernels may be far apart in: what is clear by the table alone is not clear there."""
    write, one, manifest = written
    caplog.set_level("INFO", logger="edge_moe")
    _, steady = write("steady")
    assert steady == one.golden  # as the conversion chose
    assert caplog.messages == []

    monkeypatch.setattr(golden, "part_tolerance", lambda *_: 10.0)
    inputs, found = write("unsteady")
    assert found.samples == ()
    assert found.missing == ("exit", "expert_00", "expert_01", "top 2")
    assert found.part_tolerances == dict.fromkeys(manifest.parts, 10.0)
    with np.load(tmp_path / "unsteady" / found.file.file) as stored:  # the parts are checked all the same
        assert {name.partition(".")[0] for name in stored} == {f"00/{part}" for part in manifest.parts}
    assert list(inputs.images) == ["00"]
    assert [line.partition(":")[0] for line in caplog.messages] == [
        f"{part} of onnx/fp32 is chaotic" for part in sorted(manifest.parts)
    ]


def test_where_one_expert_is_unsteady_no_answer_of_two_hangs_on_it(written, monkeypatch):
    write, one, _ = written
    steady = golden._Set._own_tolerance
    monkeypatch.setattr(
        golden._Set, "_own_tolerance", lambda self, part, i: 10.0 if part == "expert_01" else steady(self, part, i)
    )
    _, found = write("unsteady")
    assert [sample.role for sample in one.golden.samples] == ["exit", "expert_00", "expert_01", "top 2"]
    assert [sample.role for sample in found.samples] == ["exit", "expert_00"]
    assert found.missing == ("expert_01", "top 2")


def test_where_the_base_is_never_sure_it_exits_all_the_same(written, monkeypatch):
    """At tau 1, which no alpha reaches; as a network that learned nothing would have it."""
    write, _, _ = written
    real = golden.fitness

    def fitness(outputs, tolerance, kind, space, wanted):
        found = real(outputs, tolerance, kind, space, wanted)
        nowhere = Fitness(np.zeros_like(found[wanted[0].name].tier), found[wanted[0].name].clearness)
        return found if SURE_EXIT in wanted else found | {"exit": nowhere}

    monkeypatch.setattr(golden, "fitness", fitness)
    _, found = write("unsure")
    sample = found.samples[0]
    assert (sample.role, sample.tau, sample.max_experts, sample.exited, sample.experts) == ("exit", 1.0, 1, True, ())
    assert found.missing == ()


def test_an_unsure_base_is_an_exit_at_tau_1():
    rows = outputs(([0.4, 0, 0], [0, 0], [[0] * 3] * 2), ([1e-4, 0, 0], [0, 0], [[0] * 3] * 2))
    assert fitness(rows, 1e-3, "bagging", "logit")["exit"].tier.tolist() == [0, 0]
    assert fitness(rows, 1e-3, "bagging", "logit", (SURE_EXIT,))["exit"].tier.tolist() == [1, 1]


# --- the files ---


def opened(data):
    return Image.open(io.BytesIO(data))


def test_a_small_image_stays_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 10, 3), np.uint8)
    data, tensor = golden_image(pixels, SPEC)
    assert opened(data).format == "PNG"
    np.testing.assert_array_equal(np.asarray(opened(data)), pixels)
    np.testing.assert_array_equal(tensor, prepare(pixels, SPEC))


def test_of_its_size_the_pixels_are_the_tensor():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    data, tensor = golden_image(pixels, SPEC)
    np.testing.assert_array_equal(tensor[0], normalize(np.asarray(opened(data)), SPEC))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (800, 1600, (10, 20)),  # 1.25 times the 8 pixels that it is resized to
        (1600, 800, (20, 10)),
        (30, 4000, (10, 20)),  # no more than twice as long
        (3, 900, (3, 6)),
        (9, 9, (9, 9)),
    ],
)
def test_a_large_image_is_made_smaller(height, width, expected):
    """And the tensor is that of the small one, so that the file and the tensor agree to the last bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    data, tensor = golden_image(pixels, SPEC)
    assert np.asarray(opened(data)).shape == (*expected, 3)
    assert len(data) < 2000
    np.testing.assert_array_equal(tensor, prepare(opened(data), SPEC))


def test_of_a_resize_to_height_and_width(tmp_path):
    spec = Preprocessing(image_size=(8, 16), resize=(8, 16), mean=(0, 0, 0), std=(1, 1, 1))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)).save(tmp_path / "a.png")
    data, tensor = golden_image(tmp_path / "a.png", spec)
    assert opened(data).size == (20, 20)  # the wider side is 1.25 times 16
    assert tensor.shape == (1, 8, 16, 3)


def test_it_holds_pixels_and_nothing_else(tmp_path):
    image = Image.new("RGB", (6, 4), "red")
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    image.save(tmp_path / "a.jpg", exif=exif)
    data, _ = golden_image(tmp_path / "a.jpg", SPEC)
    assert b"where I live" in (tmp_path / "a.jpg").read_bytes()
    assert b"where I live" not in data
    assert opened(data).info == {}
