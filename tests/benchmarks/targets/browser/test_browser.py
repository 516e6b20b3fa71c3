"""A browser as a target, with a page that is a thread: what it is asked for, and what becomes of its answers."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from edge_moe import BackendError, Runtime, UsageError
from edge_moe.benchmarks import targets
from edge_moe.benchmarks.job import read_job
from edge_moe.benchmarks.results import load
from edge_moe.benchmarks.sound import opening_problem, round_problem
from edge_moe.benchmarks.targets.browser import room as rooms
from edge_moe.benchmarks.wire import SCHEMA_VERSION
from edge_moe.bundle import Bundle
from edge_moe.progress import Silent
from edge_moe.sets import SetKey
from tests.benchmarks.browser.fake import HELLO, Page, fake_libraries
from tests.cli.conftest import Done, cli  # noqa: F401
from tests.fixtures import JOB


@pytest.fixture
def libraries(monkeypatch, tmp_path):
    return fake_libraries(monkeypatch, tmp_path / "cache")


@pytest.fixture
def room(libraries, monkeypatch):
    monkeypatch.setattr(rooms, "_PORT", 0)
    made = rooms.Room(lan=False)
    monkeypatch.setattr(rooms, "room", lambda *, lan: made)
    yield made
    made.close()


@pytest.fixture
def page(room):
    opened = Page(room.url)
    opened.start()
    yield opened
    opened.end()


@pytest.fixture
def job():
    return read_job(JOB)


def test_its_names():
    assert [one.what for one in targets.get("browser").available()] == ["browser", "browser:lan", "browser, litert"]
    assert targets.get("browser:lan").name == "browser:lan"
    with pytest.raises(UsageError, match="unknown device 'browser:chrome'; expected browser or browser:lan"):
        targets.get("browser:chrome")


def test_without_its_libraries(monkeypatch, tmp_path, job):
    monkeypatch.setenv("EDGE_MOE_CACHE", str(tmp_path))
    target = targets.get("browser")
    assert {one.detail for one in target.available()} == {
        "LiteRT.js is not set up: run 'edge-moe devices setup browser'"
    }
    with pytest.raises(BackendError, match=r"browser cannot be used: LiteRT\.js is not set up"):
        target.check(job.sets, 1)


def test_what_it_does_not_run(libraries, make_bundle, job):
    target = targets.get("browser")
    target.check(job.sets, 1)
    with pytest.raises(UsageError, match=r"threads is 2; browser runs LiteRT\.js on one thread"):
        target.check(job.sets, 2)
    with pytest.raises(BackendError, match=r"fake/\w+ cannot run on browser: browser runs artifacts of litert"):
        target.check(Bundle(make_bundle()).manifest.sets, 1)


def test_a_job(page, job):
    target = targets.get("browser")
    with target.open(job, Silent()) as session:
        opening = session.opening
        assert opening_problem(opening, SCHEMA_VERSION) is None
        assert (opening.target, opening.how) == ("browser", "in a browser (WebAssembly)")
        assert opening.machine.title == "Fake 1"
        assert opening.versions["litert/int8"] == "LiteRT.js 2.5.3, no SIMD"
        assert opening.facts == {"timer step, ms": 0.005, "cross-origin isolated": True}
        first, second = session.rounds(0, Silent(), "timing")
    assert first.sets[0].cold_start_ms == 5.0
    assert second.sets[0].cold_start_ms is None  # one was asked for
    assert [one["kind"] for one in page.done] == ["job", "round", "round"]
    assert len(first.sets[0].points) == len(job.plan.sets[0].settings)


def test_what_parts_compute(page, job):
    bundle, target = job.bundle, targets.get("browser")
    artifacts = bundle.manifest.find("litert", "int8")
    found = target.outputs(bundle, artifacts, "base", np.concatenate(job.inputs))
    with Runtime(bundle, backend="litert", recipe="int8") as runtime:
        base = runtime.part("base")
        for place, x in enumerate(job.inputs):
            base.invoke(x)
            for name, values in found.items():
                assert values.shape[0] == len(job.inputs)
                np.testing.assert_array_equal(values[place], base.output(name)[0])


def test_what_parts_cost(page, job):
    artifacts = job.bundle.manifest.find("litert", "int8")
    files = {SetKey("litert", "int8"): {name: job.bundle.path / one.file for name, one in artifacts.parts.items()}}
    specs, inputs = {"base": job.bundle.manifest.parts["base"]}, {"base": np.concatenate(job.inputs)}
    only = {key: {"base": parts["base"]} for key, parts in files.items()}
    unit, samples = targets.get("browser").price(only, specs, inputs, 3, Silent())
    assert unit.name == "ms"
    size = float(artifacts.parts["base"].bytes)
    assert samples == {SetKey("litert", "int8"): {"base": [[size] * len(job.inputs)] * 3}}


def test_another_browser_does_not_go_on(page, room, job):
    with targets.get("browser").open(job, Silent()) as session:
        rounds = session.rounds(0, Silent(), "timing")
        next(rounds)
        page.end()
        other = Page(room.url, HELLO | {"name": "Other 2"})
        assert other.greet("any") == 200
        other.greet = lambda: 200
        other.answer_job(page.done[0])
        other.start()
        with pytest.raises(BackendError, match="another browser answered, Other 2, and Fake 1 had begun"):
            next(rounds)
        other.end()


def test_a_second_job_is_another(page, job):
    """One process, one page: what it has open is not what it is asked for next."""
    for settings in (2, 1):
        planned = tuple(msgspec.structs.replace(one, settings=one.settings[:settings]) for one in job.plan.sets)
        another = dataclasses.replace(job, plan=msgspec.structs.replace(job.plan, sets=planned, rounds=1))
        with targets.get("browser").open(another, Silent()) as session:
            list(session.rounds(0, Silent(), "timing"))
    addresses = [task["job"] for task in page.done]
    assert addresses[0] == addresses[1] != addresses[2] == addresses[3]


def test_rounds_of_two_browsers_are_not_mixed(page, room, cli, tiny_images, tmp_path):  # noqa: F811
    """Neither are they lost."""
    arguments = ("bench", JOB / "bundle", "--data", tiny_images, "--device", "browser", "--images", 4, "--rounds", 3)
    arguments = (*arguments, "--checked-images", 4, "--set", "litert/int8", "-o", tmp_path / "report")
    answer = page.answer_round
    page.answer_round = lambda task: b"{}" if task["number"] == 1 else answer(task)
    assert cli(*arguments).code == 1
    page.end()
    other = Page(room.url, HELLO | {"name": "Other 2"}, cost=100.0)
    greet = other.greet
    other.greet = lambda: greet("any")
    other.start()
    cli(*arguments).refused(1, "holds rounds of Fake 1, and now Other 2 answers", "-o", progress=True)
    other.end()
    kept = tmp_path / "report.unfinished"
    assert (kept / "round-0000.json").exists()
    assert len(list(kept.glob("there-*.json"))) == 2  # each browser's own answers
    back = Page(room.url)
    again = back.greet
    back.greet = lambda: again("any")
    back.start()
    assert cli(*arguments).code == 0
    back.end()
    results = load(tmp_path / "report/results.json")
    assert results.machine.title == "Fake 1"
    assert [line.sets[0].parts["base"]["ms"][0] for line in results.lines] == [1.0, 1.0, 1.0]


def test_an_answer_that_is_none(page, job, monkeypatch):
    with targets.get("browser").open(job, Silent()) as session:
        monkeypatch.setattr(page, "answer_round", lambda task: b'{"sets": 1}')
        with pytest.raises(BackendError, match="the browser answered what was not asked: Expected `array`"):
            next(session.rounds(0, Silent(), "timing"))


def test_bench(page, cli, tiny_images, tmp_path):  # noqa: F811
    arguments = ("bench", JOB / "bundle", "--data", tiny_images, "--device", "browser", "--images", 4, "--rounds", 2)
    done: Done = cli(*arguments, "--checked-images", 6, "--set", "litert/int8", "-o", tmp_path / "report")
    assert done.code == 0, done.err
    assert "ms, measured, in a browser (WebAssembly)" in " ".join(done.out.replace("\n", " ").split())
    results = load(tmp_path / "report/results.json")
    assert results.opening.target == "browser"
    (one,) = results.recorded
    assert len(one.there.images) == 6
    wanted = {"job": 1, "round": 2}
    kinds = [task["kind"] for task in page.done]
    assert {kind: kinds.count(kind) for kind in wanted} == wanted
    for text in ((tmp_path / "report/results.md").read_text(), (tmp_path / "report/report.html").read_text()):
        assert "in a browser (WebAssembly)" in text
    assert all(round_problem(results.opening, [], line, 4) is not None for line in results.lines)  # of other sets
