"""The server of the page: hands out its files and no others, on this machine alone unless the network is asked for."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_moe.benchmarks.browser.site import HEADERS, Content, media_type
from edge_moe.errors import UsageError
from edge_moe.records import sha256

__all__ = ["Endpoint", "Server", "local_address"]

LOOPBACK = "127.0.0.1"
_HTTP = 80  # the port that stands in no address
_START_S = 10.0
_ELSEWHERE = ("192.0.2.1", 9)  # an address of documentation (RFC 5737): asking the way there sends nothing

Endpoint = Callable[[Request], Awaitable[Response]]


class Server:
    """At work from its making until it is closed, in a thread of its own."""

    def __init__(
        self,
        files: Mapping[str, Content],
        *,
        lan: bool = False,
        port: int = 0,
        api: Mapping[str, Endpoint] | None = None,
    ) -> None:
        """Listen.

        Args:
            files: address, without a slash at its beginning -> content; may change while the server is at work.
            lan: on the local network, under addresses that begin with a random token; else on this machine alone.
            port: 0 is any that is free.
            api: address -> what answers a request to it, whatever its method.

        Raises:
            UsageError: the port is taken, or there is no network.
        """
        host = local_address() if lan else LOOPBACK
        self.token = secrets.token_urlsafe(16) if lan else ""
        self._socket = _listening(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{host}:{self.port}/{self.token}{'/' if lan else ''}"
        hosts = (host,) if lan else (host, "localhost")
        names = {f"{one}:{self.port}" for one in hosts} | (set(hosts) if self.port == _HTTP else set())
        prefix = f"/{self.token}" if lan else ""
        routes = [Route(f"{prefix}/{name}", answer, methods=["GET", "POST"]) for name, answer in (api or {}).items()]
        app = Starlette(routes=[*routes, Route(f"{prefix}/{{address:path}}", _files(files))])
        config = uvicorn.Config(
            _Guarded(app, frozenset(names)),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def __enter__(self) -> Server:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.should_exit = True
        self._thread.join(_START_S)
        self._socket.close()


class _Guarded:
    """Answers only who asked for this server by its own name: a page of elsewhere cannot give it another one."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and Request(scope).headers.get("host") not in self._names:
            await Response("this server is known by another name", 421, HEADERS)(scope, receive, send)
            return

        async def with_headers(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))  # type: ignore[call-overload]
                message["headers"] = [*given, *((k.lower().encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        await self._app(scope, receive, with_headers)  # type: ignore[arg-type]


def _files(files: Mapping[str, Content]) -> Endpoint:
    async def answer(request: Request) -> Response:
        address = request.path_params["address"]
        if address == "":
            address = "index.html"
        content = files.get(address)
        if content is None:
            return Response("there is no such file", 404)
        try:
            tag = _tag(content)
        except OSError:  # it was there when the server began
            return Response("there is no such file any more", 404)
        headers = {"ETag": tag}
        if request.headers.get("if-none-match") == tag:  # the browser has it
            return Response(status_code=304, headers=headers)
        if isinstance(content, bytes):
            return Response(content, media_type=media_type(address), headers=headers)
        return FileResponse(content, media_type=media_type(address), headers=headers)

    return answer


def _tag(content: Content) -> str:
    """Return what changes with a file: its hash, or of a large one when it was written."""
    if isinstance(content, bytes):
        return f'"{sha256(content)[:32]}"'
    about = content.stat()
    return f'"{about.st_mtime_ns:x}-{about.st_size:x}-{about.st_ino:x}"'


def _listening(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"port {port} cannot be used on {host}: {error.strerror}; choose another with --port, or leave it out"
        ) from None
    listening.listen()
    return listening


def local_address() -> str:
    """Return this machine's own address on the local network.

    Raises:
        UsageError: it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(_ELSEWHERE)
            address: str = asked.getsockname()[0]
        except OSError:
            address = LOOPBACK
    if address.startswith("127."):
        raise UsageError("this machine is on no network; expected one for --lan: connect it, or leave --lan out")
    return address
