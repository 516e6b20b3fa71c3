"""The page's files: they name each other and nobody else, and say everything in two languages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks import browser
from edge_moe.benchmarks.browser.site import HEADERS, POLICY, media_type, runs_in_browser, site_files
from edge_moe.benchmarks.job import bundle_files
from edge_moe.bundle import Bundle
from edge_moe.records import sha256
from tests.benchmarks.browser.fake import fake_libraries, read
from tests.fixtures import JOB

PAGE = Path(browser.__file__).parent / "page"
MODULES = sorted(PAGE.glob("*.js"))
PAGES = sorted(PAGE.glob("*.html"))
TEXTS = json.loads(read(PAGE / "texts.json"))


def test_what_is_where(monkeypatch, tmp_path):
    site = site_files(fake_libraries(monkeypatch, tmp_path))
    assert {"index.html", "measure.html", "site.json", "page/rule.js", "library/litert/index.js"} <= site.keys()
    told = json.loads(site["site.json"])
    data = site["library/hashes/sha2.js"]  # a small one is at hand
    assert told["library"]["hashes/sha2.js"] == {"bytes": len(data), "sha256": sha256(data)}
    assert told["schemas"]["versions"] == {"manifest": 3, "operating": 1}


def test_of_the_bundle_only_what_its_manifest_names():
    bundle = Bundle(JOB / "bundle")
    found = bundle_files(bundle)
    assert {"bundle/manifest.json", "bundle/operating.json", "bundle/litert/int8/base.tflite"} < found.keys()
    there = {f"bundle/{file.relative_to(bundle.path)}" for file in bundle.path.rglob("*") if file.is_file()}
    assert found.keys() == there
    (one,) = [one for one in runs_in_browser(bundle) if one.recipe.name == "int8"]
    assert one.backend == "litert"


def test_a_bundle_without_a_set_for_browsers(make_bundle):
    with pytest.raises(BackendError, match="a browser runs artifacts of litert; convert with --backend litert"):
        runs_in_browser(Bundle(make_bundle()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_say_the_policy_themselves(page):
    (said,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', read(page))
    assert said == POLICY
    assert HEADERS["Content-Security-Policy"].startswith(POLICY)
    assert "style=" not in read(page)
    assert "<script>" not in read(page)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_modules_name_files_that_are_there(monkeypatch, tmp_path, module):
    site = site_files(fake_libraries(monkeypatch, tmp_path))
    for name in re.findall(r'(?:from|import\(|new URL\()\s*"(\.[^"]*\.\w+)"', read(module)):
        assert (Path("page") / name).as_posix().replace("page/../", "") in {
            one.replace("page/./", "page/") for one in site
        }, name
    assert not re.findall(r'from "[^."]', read(module))  # no package, which only an import map could find


@pytest.mark.parametrize("file", [*MODULES, *PAGES, PAGE / "style.css"], ids=lambda file: file.name)
def test_nobody_else_is_named(file):
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", read(file)))
    # A name space, and where a format is written down.
    assert addresses <= {"http://www.w3.org/2000/svg"} | {
        one for one in addresses if one.startswith("https://numpy.org")
    }


def test_both_languages_say_the_same():
    assert TEXTS.keys() == {"en", "de"}
    values = {
        language: {name: set(re.findall(r"\{\w+\}", text)) for name, text in of.items()}
        for language, of in TEXTS.items()
    }
    assert values["en"] == values["de"]


def test_every_text_is_there_and_needed():
    said = set()
    for page in PAGES:
        said |= set(re.findall(r'data-(?:text|label)="(\w+)"', read(page)))
    code = "".join(map(read, MODULES))
    literals = set(re.findall(r'"(\w+)"', code))
    said |= {name for name in TEXTS["en"] if name in literals}
    said |= {f"trouble_{code}" for code in re.findall(r'Trouble\(\s*"(\w+)"', code)}
    said |= {f"trouble_{code}" for code in re.findall(r'\d{3}: "(\w+)"', code)}  # by the status of an answer
    said |= {f"loading_{name}" for name in ("library", "base", "gate", "expert")} | {"trouble_unexpected"}
    assert said == TEXTS["en"].keys()


def test_media_types():
    assert media_type("page/rule.js") == "text/javascript"
    assert media_type("a.wasm") == "application/wasm"
    assert media_type("a.html") == "text/html"
    assert media_type("bundle/base.tflite") == "application/octet-stream"
