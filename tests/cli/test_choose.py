"""edge-moe choose: its tables, its words, what it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil

import pytest

from edge_moe import Runtime
from edge_moe.benchmarks.recorded import Routing
from edge_moe.benchmarks.results import load
from edge_moe.bundle import Bundle
from tests.benchmarks.fitted import cheaper, edited, fitted, only, replace, save, worked
from tests.cli.conftest import small_disk
from tests.tiny import tree


@pytest.fixture
def bundle(make_bundle):
    return make_bundle(experts=2, tau=0.3)


@pytest.fixture
def results(bundle, tmp_path):
    """400 images; the larger tau, the cheaper and, from 0.25 on, the worse."""
    return save(fitted(bundle, images=400, timed=40, rounds=3), tmp_path / "results.json")


def defaults(bundle):
    first = Bundle(bundle).operating_sets["fake/int8"]
    return first.default_tau, first.default_max_experts


def test_a_choice_is_shown_and_not_written(cli, bundle, results, tmp_path):
    before = tree(tmp_path)
    done = cli("choose", bundle, "--results", results, "--max-accuracy-drop", 1, "--max-latency-ms", 0.6)
    assert (done.code, done.err) == (0, "")
    assert tree(tmp_path) == before
    rows = [line for line in done.out.splitlines() if " / " in line and "half" not in line]
    assert len(rows) == 6
    (chosen,) = (line for line in rows if "* " in line)
    assert "fake/int8, 400 images of val: half A / half B (* chosen on half A)" in done.out
    tau = chosen.split("*")[1].split()[0]
    assert f"tau {tau}, max_experts" in done.out
    assert "the cheapest on half A that satisfies the wish" in done.out
    assert "95% interval" in done.out
    assert "<= 0.6 ms" in done.out
    assert "<= 1 points" in done.out
    assert done.out.endswith("the bundle's default stays tau 0.3, max_experts 1; --write changes it\n")


def test_of_several_sets_the_first_that_was_measured(cli, make_bundle, tmp_path):
    bundle = make_bundle("two", experts=2, recipes=("int8", "fp32"))
    results = fitted(bundle, images=400, timed=40, rounds=3)
    file = save(only(results, 0), tmp_path / "results.json")
    given = ("--results", file, "--exit-rate", 0.5)
    for names in (("--set", "fake/fp32,fake/int8"), ("--backend", "fake", "--recipe", "fp32,int8"), ("--set", "fake")):
        done = cli("choose", bundle, *given, *names)
        assert (done.code, done.err) == (0, "")
        assert "fake/int8, 400 images of val" in done.out
    cli("choose", bundle, *given, "--set", "fake/fp32").refused(1, "has nothing of fake/fp32; it has fake/int8")


def test_write_changes_the_default_only(cli, bundle, results):
    before = tree(bundle)
    done = cli("choose", bundle, "--results", results, "--exit-rate", 0.99, "--write")
    assert done.code == 0, done.err
    assert defaults(bundle) == (1.0, 1)
    assert "the default of fake/int8 is now tau 1, max_experts 1; it was tau 0.3, max_experts 1" in done.out
    changed = {name for name, digest in tree(bundle).items() if before.get(name) != digest}
    assert changed == {"operating.json"}


def test_json_has_the_choice_and_what_it_was_from(cli, make_bundle, tmp_path):
    bundle = make_bundle("two", experts=2, recipes=("int8", "fp32"), tau=0.3)
    file = save(fitted(bundle, images=400, timed=40, rounds=3), tmp_path / "results.json")
    command = ("choose", bundle, "--results", file, "--exit-rate", 0.99, "--set", "fake/int8")
    found = json.loads(cli(*command, "--json").out)
    assert (found["set"], found["written"], found["statistic"]) == ("fake/int8", False, "mean")
    assert found["wishes"] == [{"quantity": "exit_rate", "value": 0.99, "at_least": True}]
    assert (found["chosen"]["tau"], found["chosen"]["max_experts"]) == (1.0, 1)
    assert found["chosen"] in found["candidates"]
    assert found["chosen"]["a"]["exit_rate"]["value"] == 1.0
    assert defaults(bundle) == (0.3, 1)
    assert json.loads(cli(*command, "--json", "--write").out) == found | {"written": True}
    assert defaults(bundle) == (1.0, 1)
    assert "the other sets keep their tau: fake/fp32 at 0.3" in cli(*command, "--write").out
    done = cli("choose", bundle, "--results", file, "--max-latency-ms", 0.1, "--all-sets", "--json")
    done.refused(1, "no measured point satisfies")


def test_the_whole_way_with_real_artifacts(cli, tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    file = save(fitted(bundle, images=60, timed=10), tmp_path / "results.json")
    done = cli("choose", bundle, "--results", file, "--backend", "onnx", "--exit-rate", 0.99, "--write")
    assert done.code == 0, done.err
    assert cli("verify", bundle, "--quiet").code == 0
    with Runtime(bundle, backend="onnx") as model:
        assert model.tau == 1.0
    assert Bundle(bundle).manifest.sets[0] == Bundle(tiny_bundle).manifest.sets[0]


def test_nothing_satisfies(cli, bundle, results, tmp_path):
    before = tree(tmp_path)
    done = cli("choose", bundle, "--results", results, "--max-latency-ms", 0.1, "--write")
    done.refused(
        1,
        "no measured point satisfies",
        "tau 1, max_experts 1 comes closest",
        "your limit was 0.1 ms; allow more mean latency",
    )
    assert "half A / half B" in done.out  # what there is to wish for
    assert tree(tmp_path) == before


def test_doubtful_results_work_with_a_warning(cli, make_bundle, tmp_path):
    bundle = make_bundle("doubtful", edit=lambda raw: raw.update(trained=False))
    made = fitted(bundle, images=50, timed=8, rounds=2, rounds_asked=9, remarks=("others took 30% of the CPU",))
    done = cli("choose", bundle, "--results", save(made, tmp_path / "results.json"), "--exit-rate", 0.5)
    assert done.code == 0
    lines = done.err.splitlines()
    assert all(line.startswith("edge-moe: warning: ") for line in lines)
    for word, line in zip(("stopped after 2 rounds", "UNTRAINED", "30% of the CPU"), lines, strict=True):
        assert word in line
    assert "accuracy is not known" in done.out
    assert "drop" not in done.out


def test_predicted_costs_are_called_so(cli, bundle, tmp_path):
    file = save(fitted(bundle, images=50, timed=8, raw=False, unit="cycles"), tmp_path / "npu.json")
    done = cli("choose", bundle, "--results", file, "--max-cost", 1.5e6)
    assert done.code == 0, done.err
    assert "(predicted, not measured)" in done.out
    assert "mean cost, predicted, not measured" in done.out
    assert "<= 1,500,000 cycles" in done.out
    cli("choose", bundle, "--results", file, "--max-latency-ms", 1).refused(2, "in cycles, not in ms", "--max-cost")


def test_the_seed_decides_the_halves(cli, bundle, results):
    command = ("choose", bundle, "--results", results, "--exit-rate", 0.5)
    first, again, other = (cli(*command, "--seed", seed).out for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("statistic", ["mean", "median", "p90"])
def test_statistics(cli, bundle, results, statistic):
    done = cli("choose", bundle, "--results", results, "--max-latency-ms", 5, "--statistic", statistic)
    assert f"{statistic} ms" in done.out
    assert f"{statistic} latency" in done.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ([], 2, ["at least one of --max-latency-ms"]),
        (["--max-latency-ms", "nan"], 2, ["--max-latency-ms is nan"]),
        (["--max-latency-ms", "-1"], 2, ["--max-latency-ms is -1.0", "above 0"]),
        (["--exit-rate", "2"], 2, ["--exit-rate is 2.0", "from 0 to 1"]),
        (["--exit-rate", "half"], 2, ["--exit-rate"]),
        (["--max-accuracy-drop", "-1"], 2, ["--max-accuracy-drop is -1.0"]),
        (["--max-macs", "0"], 2, ["--max-macs is 0.0"]),
        (["--exit-rate", "0", "--seed", "-1"], 2, ["--seed"]),
        (["--exit-rate", "0", "--statistic", "mode"], 2, ["--statistic"]),
        (["--exit-rate", "0", "--backend", "tpu"], 2, ["tpu", "it has fake/int8"]),
    ],
)
def test_what_is_refused(cli, bundle, results, tmp_path, options, code, words):
    before = tree(tmp_path)
    cli("choose", bundle, "--results", results, "--write", *options).refused(code, *words)
    assert tree(tmp_path) == before


def test_results_that_cannot_be_used(cli, bundle, results, make_bundle, tmp_path):
    wish = ("--max-accuracy-drop", 1, "--write")
    before = tree(bundle)
    cli("choose", bundle, "--results", tmp_path / "none.json", *wish).refused(1, "none.json", "edge-moe bench")
    other = make_bundle("other", experts=2, seed=1)
    cli("choose", other, "--results", results, *wish).refused(1, "another bundle", "edge-moe bench")
    unlabelled = save(replace(worked(bundle), labels=None), tmp_path / "unlabelled.json")
    cli("choose", bundle, "--results", unlabelled, *wish).refused(1, "has no labels", "--data")
    results.write_text(results.read_text()[:-100])
    cli("choose", bundle, "--results", results, *wish).refused(1, "results.json is not a results file", "measure again")
    cli("choose", tmp_path / "nothing", "--results", unlabelled, *wish).refused(1, "is not a folder")
    assert tree(bundle) == before
    assert load(unlabelled).labels is None


def test_a_full_disk(cli, make_bundle, tmp_path):
    # A file that is longer than what is printed, whose place is limited as well.
    point = {"tau": 0.5, "max_experts": 1, "samples": 9, "exit_rate": 0.5, "mean_macs": 1.0, "accuracy": None}
    points = [point | {"accuracy_low": None, "accuracy_high": None}] * 200
    bundle = make_bundle("large", operate=lambda raw: raw["sets"]["fake/int8"].update(operating_points=points))
    results = save(fitted(bundle, images=40, timed=4), tmp_path / "results.json")
    before = tree(tmp_path)
    with small_disk(25_000):
        done = cli("choose", bundle, "--results", results, "--exit-rate", 0.99, "--write")
    done.refused(1, "cannot write", "operating.json")
    assert tree(tmp_path) == before


def test_a_default_is_not_chosen_by_the_answers_of_another_set(cli, make_bundle, tmp_path):
    bundle = make_bundle("two", experts=2, recipes=("int8", "fp32"))
    results = edited(fitted(bundle, images=40, timed=5), routing=Routing(set="fake/fp32", where="host"))
    given = ("--results", save(results, tmp_path / "results.json"), "--exit-rate", 0.5, "--set", "fake/int8")
    before = tree(bundle)
    done = cli("choose", bundle, *given)
    assert (done.code, "the answers of fake/int8 are those of fake/fp32" in done.err) == (0, True)
    cli("choose", bundle, *given, "--write").refused(1, "has the answers of fake/fp32 in place of those of fake/int8")
    assert tree(bundle) == before


def test_of_all_sets_the_best(cli, make_bundle, tmp_path):
    bundle = make_bundle("two", experts=2, tau=0.3, recipes=("int8", "fp32"))
    file = save(cheaper(fitted(bundle, images=400, timed=40, rounds=3), 1, 0.1), tmp_path / "results.json")
    command = ("choose", bundle, "--results", file, "--exit-rate", 0.99, "--max-accuracy-drop", 100, "--all-sets")
    done = cli(*command)
    assert (done.code, done.err) == (0, "")
    assert "the best of every set: half A / half B (* chosen on half A)" in done.out
    assert "* fake/fp32" in done.out
    assert "fake/fp32, 400 images of val: half A / half B" in done.out
    assert done.out.endswith("the default of fake/fp32 stays tau 0.3, max_experts 1; --write changes it\n")
    done = cli(*command, "--write")
    assert "the default of fake/fp32 is now tau 1, max_experts 1; it was tau 0.3, max_experts 1" in done.out
    assert f"{bundle} runs fake/fp32 where no set is named; it was fake/int8" in done.out
    sets = Bundle(bundle).operating_sets
    assert list(sets) == ["fake/fp32", "fake/int8"]
    assert "where no set is named, fake/fp32 runs" in cli("inspect", bundle).out
    assert (sets["fake/int8"].default_tau, sets["fake/fp32"].default_tau) == (0.3, 1.0)


def test_all_sets_and_one_of_them(cli, bundle, results):
    given = ("choose", bundle, "--results", results, "--all-sets")
    cli(*given, "--exit-rate", 0.5, "--set", "fake").refused(2, "--all-sets is given with --set, --backend or --recipe")
    cli(*given, "--max-latency-ms", 1e-9).refused(1, "fake/int8: no measured point satisfies the wish")
