"""The desk: one page at a time, what it is given, and what is taken from it."""

from __future__ import annotations

import json
import threading
import time

import pytest

from edge_moe import BackendError
from edge_moe.benchmarks.browser import desk as module
from edge_moe.benchmarks.browser.desk import Desk
from edge_moe.benchmarks.browser.server import Server
from tests.benchmarks.browser.fake import HELLO, ask

WAIT_S = 10


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def url(desk):
    with Server({}, api=desk.api) as server:
        yield server.url


class Asking(threading.Thread):
    """Asks for a task, and keeps what comes of it."""

    def __init__(self, desk, **options):
        super().__init__(daemon=True)
        self.desk, self.options, self.found, self.heard = desk, {"most_bytes": 8} | options, None, []
        self.start()

    def run(self):
        try:
            self.found = self.desk.ask({"kind": "sum"}, told=self.heard.append, **self.options)
        except BackendError as error:
            self.found = error

    def answer(self):
        self.join(WAIT_S)
        assert not self.is_alive()
        return self.found


def hello(url, instead_of="", **changes):
    status, _, body = ask(url, f"desk/hello?instead_of={instead_of}", method="POST", body=json.dumps(HELLO | changes))
    return json.loads(body)["page"] if status == 200 else status


def task(url, page):
    """Wait for a task -> it."""
    end = time.monotonic() + WAIT_S
    while True:
        status, _, body = ask(url, f"desk/task?page={page}")
        if status != 204:
            return json.loads(body) if status == 200 else status
        assert time.monotonic() < end
        time.sleep(0.01)


def post(url, what, body):
    return ask(url, f"desk/{what}", method="POST", body=body)[0]


def test_a_task_and_its_answer(desk, url):
    page = hello(url)
    assert desk.wait_for_page().name == "Fake 1"
    assert ask(url, f"desk/task?page={page}")[0] == 204
    asking = Asking(desk, inputs=b"\x01\x02")
    given = task(url, page)
    assert given == {"task": 1, "kind": "sum"}
    assert ask(url, "desk/inputs?task=1")[2] == b"\x01\x02"
    assert post(url, f"alive?page={page}", json.dumps({"visible": False, "done": 3, "of": 9})) == 204
    end = time.monotonic() + WAIT_S
    while not any(one and one.done == 3 and not one.visible for one in asking.heard):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert post(url, f"answer?page={page}&task=1", b"\x03") == 204
    assert asking.answer() == b"\x03"
    assert ask(url, "desk/inputs?task=1")[0] == 410
    assert post(url, f"answer?page={page}&task=1", b"\x04") == 410  # it is done


def test_a_page_that_cannot(desk, url):
    page, asking = hello(url), Asking(desk)
    task(url, page)
    assert post(url, f"failed?page={page}&task=1", json.dumps({"code": "refused", "values": {"what": "no op"}})) == 204
    assert str(asking.answer()) == "the browser cannot do it: refused (what no op)"


def test_what_comes_is_bounded_and_typed(desk, url):
    page, asking = hello(url), Asking(desk, most_bytes=4)
    task(url, page)
    assert post(url, f"answer?page={page}&task=2", b"1234") == 410
    assert post(url, "answer?page=another&task=1", b"1234") == 410
    assert post(url, f"alive?page={page}", b"{}") == 400
    assert post(url, f"alive?page={page}", b"[" * (1 << 17)) == 400
    for changes in ({"cores": 0}, {"timer_ms": 0}, {"name": "x" * 1001}, {"more": 1}):
        assert hello(url, instead_of="any", **changes) == 400
    # Not from the page itself: a form of another page could send it, but not this header.
    assert ask(url, f"desk/answer?page={page}&task=1", method="POST", body=b"1", headers={})[0] == 410
    assert post(url, f"answer?page={page}&task=1", b"1234") == 204
    assert asking.answer() == b"1234"


def test_an_answer_that_is_too_large_ends_the_task(desk, url):
    """The page would bring the same again, and again."""
    page, asking = hello(url), Asking(desk, most_bytes=4)
    task(url, page)
    assert post(url, f"answer?page={page}&task=1", b"12345") == 413
    assert str(asking.answer()) == "the browser cannot do it: its answer has more than 4 bytes; report this"
    asking = Asking(desk)
    task(url, page)
    assert post(url, f"failed?page={page}&task=2", b'{"code": 1, "values": {}}') == 400
    assert str(asking.answer()) == "the browser cannot do it: it does not say why"


def test_a_page_of_before_says_hello_anew(desk, url):
    assert ask(url, "desk/task?page=of-before")[0] == 401
    assert post(url, "alive?page=of-before", json.dumps({"visible": True})) == 401
    page = hello(url, instead_of="of-before")
    assert ask(url, f"desk/task?page={page}")[0] == 204
    assert ask(url, "desk/task?page=of-before")[0] == 410  # now there is another one


def test_one_page_at_a_time(desk, url):
    first = hello(url)
    assert hello(url) == hello(url, instead_of="somebody") == 409
    again = hello(url, instead_of=first)  # as after a reload
    assert again != first
    assert ask(url, f"desk/task?page={first}")[0] == 410
    taken = hello(url, instead_of="any")
    assert ask(url, f"desk/task?page={again}")[0] == 410
    assert ask(url, f"desk/task?page={taken}")[0] == 204


def test_a_silent_page_is_gone_and_another_goes_on(desk, url, monkeypatch):
    monkeypatch.setattr(module, "_GONE_S", 0.3)
    first, asking = hello(url), Asking(desk)
    assert task(url, first)["task"] == 1
    end = time.monotonic() + WAIT_S
    while None not in asking.heard:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert desk.page is None
    second = hello(url)
    assert task(url, second)["task"] == 1
    assert post(url, f"answer?page={second}&task=1", b"1") == 204
    assert asking.answer() == b"1"


def test_waiting_for_a_page_says_so_once(desk, url):
    said = []
    waiting = threading.Thread(target=lambda: said.append(desk.wait_for_page(lambda: said.append("open it"))))
    waiting.start()
    time.sleep(0.3)
    hello(url)
    waiting.join(WAIT_S)
    assert [said[0], said[1].name] == ["open it", "Fake 1"]
    desk.wait_for_page(lambda: said.append("again"))
    assert len(said) == 2
