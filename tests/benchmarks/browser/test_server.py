"""The server: its own files, to whoever knows its name."""

from __future__ import annotations

import socket

import pytest

from edge_moe import UsageError
from edge_moe.benchmarks.browser import server as module
from edge_moe.benchmarks.browser.server import Server, local_address
from edge_moe.benchmarks.browser.site import HEADERS
from tests.benchmarks.browser.fake import ask


@pytest.fixture
def files(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/a.js").write_bytes(b"code")
    return {"index.html": b"<p>", "page/a.js": tmp_path / "site/a.js"}


def test_files(files):
    with Server(files) as server:
        status, headers, body = ask(server.url, "page/a.js")
        assert (status, body, headers["content-type"]) == (200, b"code", "text/javascript; charset=utf-8")
        assert headers.items() >= {name.lower(): value for name, value in HEADERS.items()}.items()
        assert ask(server.url, "")[2] == ask(server.url, "index.html")[2] == b"<p>"
        for path in (
            "page",
            "page/b.js",
            "page/../../secret",
            "page/%2e%2e/%2e%2e/secret",
            "..%2fsecret",
            "//etc/passwd",
        ):
            assert ask(server.url, path)[0] == 404, path
        assert ask(server.url, "index.html", method="DELETE")[0] == 405
        files["later"] = b"now"
        assert ask(server.url, "later")[2] == b"now"
    with pytest.raises(ConnectionRefusedError):
        ask(server.url, "")


def test_what_a_browser_has_is_not_sent_again(files):
    with Server(files) as server:
        for name in ("index.html", "page/a.js"):
            status, headers, body = ask(server.url, name)
            assert (status, body != b"") == (200, True)
            again = ask(server.url, name, headers={"If-None-Match": headers["etag"]})
            assert (again[0], again[2]) == (304, b"")
            assert again[1].items() >= {name.lower(): value for name, value in HEADERS.items()}.items()
        files["page/a.js"].write_bytes(b"other code")
        files["index.html"] = b"<b>"
        for name, tag in (("index.html", headers["etag"]), ("page/a.js", headers["etag"])):
            assert ask(server.url, name, headers={"If-None-Match": tag})[0] == 200
        files["page/a.js"].unlink()
        assert ask(server.url, "page/a.js")[0] == 404


def test_another_name_is_not_answered(files):
    """As where a page of elsewhere had its own name lead to this machine."""
    with Server(files) as server:
        assert ask(server.url, "", host=f"localhost:{server.port}")[0] == 200
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1", f"127.0.0.1:{server.port + 1}"):
            status, headers, body = ask(server.url, "", host=host)
            assert (status, body) == (421, b"this server is known by another name")
            assert headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_on_the_network_only_with_the_token(files, monkeypatch):
    monkeypatch.setattr(module, "local_address", lambda: "127.0.0.1")
    with Server(files, lan=True) as server, Server(files, lan=True) as other:
        assert len(server.token) >= 20
        assert server.token != other.token
        assert server.url == f"http://127.0.0.1:{server.port}/{server.token}/"
        assert ask(server.url, "page/a.js")[2] == b"code"
        bare = f"http://127.0.0.1:{server.port}/"
        for path in ("", "index.html", "page/a.js", f"{other.token}/page/a.js", f"{server.token}x/page/a.js"):
            assert ask(bare, path)[0] == 404


def test_a_port_that_is_taken(files):
    with Server(files) as server, pytest.raises(UsageError, match=rf"port {server.port} cannot be used on .*--port"):
        Server(files, port=server.port)


def test_no_network(monkeypatch):
    class Nowhere(socket.socket):
        def connect(self, address):
            raise OSError("no route")

    monkeypatch.setattr(module.socket, "socket", Nowhere)
    with pytest.raises(UsageError, match="this machine is on no network"):
        local_address()
