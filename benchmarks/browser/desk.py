"""Work for a page: it asks for a task, does it, and brings the answer. Here both ends are brought together.

One page works at a time. A page that is silent for long is gone: its task waits for the next one.

    POST desk/hello            who the page is             -> {"page": ...}; 409 while another works
    GET  desk/task?page=       what is to be done          -> a task; 204: nothing now; 410: another page works;
                                                              401: none does, and this one has to say hello anew
    GET  desk/inputs?task=     what a task computes with, raw
    POST desk/alive?page=      every second, with how far it is, and whether it is in front
    POST desk/answer?page=&task=   the answer, as many bytes as were agreed at most
    POST desk/failed?page=&task=   why there is none
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edge_moe.benchmarks.browser.server import Endpoint
from edge_moe.errors import BackendError
from edge_moe.records import Count, Positive, Strict

__all__ = ["Alive", "Desk", "Hello"]

T = TypeVar("T")

_GONE_S = 15.0
_WAIT_S = 0.2
_ANY = "any"  # of the pages that work: whoever asks was told of another one, and wants to take over
_SMALL = 1 << 16  # bytes of what is not an answer
_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_OURS = "x-edge-moe"  # a header that a page of elsewhere may not send without asking first


class Hello(Strict, frozen=True):
    """What a page says of itself."""

    name: _Text  # and version
    user_agent: _Text
    system: _Text
    cores: Positive
    timer_ms: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)]
    isolated: bool  # cross-origin isolated, so that its clock is fine
    build: _Text  # of the library: SIMD and threads

    @property
    def identity(self) -> str:
        """What tells one browser from another."""
        return "; ".join((self.name, self.user_agent, self.system, str(self.cores), self.build))


class Alive(Strict, frozen=True):
    """What a page says while it works."""

    visible: bool
    done: Count = 0
    of: Count = 0


class _Failed(Strict, frozen=True):
    code: _Text
    values: dict[str, str | int | float | None]


@dataclass
class _Task:
    number: int
    content: Mapping[str, Any]
    inputs: bytes
    most_bytes: int
    answer: bytes | None = None
    failed: str | None = None
    coming: bool = False  # whether an answer is being read


@dataclass
class _Page:
    name: str
    hello: Hello
    heard: float = field(default_factory=time.monotonic)
    alive: Alive = field(default_factory=lambda: Alive(visible=True))


class Desk:
    """What is to be done, who does it, and what came of it."""

    def __init__(self) -> None:
        """Nothing to be done, and nobody there."""
        self._changed = threading.Condition()
        self._page: _Page | None = None
        self._task: _Task | None = None
        self._tasks = 0

    @property
    def api(self) -> dict[str, Endpoint]:
        """Address -> what answers it."""
        return {
            "desk/hello": self._greet,
            "desk/task": self._give,
            "desk/inputs": self._feed,
            "desk/alive": self._listen,
            "desk/answer": self._take,
            "desk/failed": self._give_up,
        }

    @property
    def page(self) -> Hello | None:
        """The page that is there and was heard a moment ago."""
        there = self._page
        return there.hello if there and time.monotonic() - there.heard < _GONE_S else None

    def wait_for_page(self, told: Callable[[], None] = lambda: None) -> Hello:
        """Return who works, as soon as somebody does; `told` is called once if nobody does yet."""
        if self.page is None:
            told()
        with self._changed:
            while (found := self.page) is None:
                self._changed.wait(_WAIT_S)
        return found

    def ask(
        self,
        content: Mapping[str, Any],
        *,
        inputs: bytes = b"",
        most_bytes: int,
        told: Callable[[Alive | None], None] = lambda alive: None,
    ) -> bytes:
        """Have a page do a task; return its answer.

        Args:
            content: of the task; `kind` says what.
            inputs: what it computes with.
            most_bytes: of the answer.
            told: again and again how far the page is; None: nobody works on it.

        Raises:
            BackendError: the page says that it cannot.
        """
        with self._changed:
            self._tasks += 1
            task = self._task = _Task(self._tasks, content, inputs, most_bytes)
            self._changed.notify_all()
            try:
                while task.answer is None and task.failed is None:
                    self._changed.wait(_WAIT_S)
                    told(self._page.alive if self._page and self.page else None)
            finally:
                self._task = None
        if task.failed is not None:
            raise BackendError(f"the browser cannot do it: {task.failed}")
        assert task.answer is not None
        return task.answer

    async def _greet(self, request: Request) -> Response:
        body = await _body(request, _SMALL)
        hello = _decoded(body, Hello)
        if hello is None:
            return _refused(400)
        with self._changed:
            if self.page is not None and request.query_params.get("instead_of") not in (self._page_name, _ANY):
                return _refused(409)
            self._page = _Page(secrets.token_hex(8), hello)
            self._changed.notify_all()
            return _json({"page": self._page.name})

    async def _give(self, request: Request) -> Response:
        if not self._heard(request):
            return self._strange()
        task = self._task
        if task is None:
            return Response(status_code=204)
        return _json({"task": task.number, **task.content})

    async def _feed(self, request: Request) -> Response:
        task = self._task
        if task is None or request.query_params.get("task") != str(task.number):
            return _refused(410)
        return Response(task.inputs, media_type="application/octet-stream")

    async def _listen(self, request: Request) -> Response:
        alive = _decoded(await _body(request, _SMALL), Alive)
        if alive is None:
            return _refused(400)
        if not self._heard(request):
            return self._strange()
        assert self._page is not None
        self._page.alive = alive
        return Response(status_code=204)

    async def _take(self, request: Request) -> Response:
        task = self._mine(request)
        if task is None:
            return self._strange()
        if task.coming:
            return _refused(409)
        task.coming = True
        try:
            body = await _body(request, task.most_bytes)
        finally:
            task.coming = False
        if body is None:
            return self._fail(task, f"its answer has more than {task.most_bytes} bytes; report this", 413)
        with self._changed:
            task.answer = body
            self._changed.notify_all()
        return Response(status_code=204)

    async def _give_up(self, request: Request) -> Response:
        task, failed = self._mine(request), _decoded(await _body(request, _SMALL), _Failed)
        if task is None:
            return self._strange()
        if failed is None:
            return self._fail(task, "it does not say why", 400)
        values = ", ".join(f"{name} {value}" for name, value in failed.values.items())
        return self._fail(task, f"{failed.code.replace('_', ' ')}{f' ({values})' if values else ''}", 204)

    def _fail(self, task: _Task, why: str, status: int) -> Response:
        with self._changed:
            task.failed = why
            self._changed.notify_all()
        return Response(status_code=status)

    def _strange(self) -> Response:
        """Answer a page that is not the one that works: another one does, or none, and this one may."""
        return _refused(401 if self.page is None else 410)

    @property
    def _page_name(self) -> str:
        return self._page.name if self._page else ""

    def _heard(self, request: Request) -> bool:
        """Note that the page is there; return whether it is the one that works."""
        if self._page is None or request.query_params.get("page") != self._page.name:
            return False
        self._page.heard = time.monotonic()
        return True

    def _mine(self, request: Request) -> _Task | None:
        task = self._task
        if _OURS not in request.headers:  # somebody else's page cannot know the name, and may not send this
            return None
        known = self._heard(request) and task is not None and request.query_params.get("task") == str(task.number)
        return task if known else None


async def _body(request: Request, most: int) -> bytes | None:
    """Return what came, None where it is more than `most` bytes or did not come from the page itself."""
    if _OURS not in request.headers:
        return None
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            return None
    return bytes(found)


def _decoded(body: bytes | None, kind: type[T]) -> T | None:
    if body is None:
        return None
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _json(content: Mapping[str, Any]) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _refused(status: int) -> Response:
    return Response(status_code=status)
