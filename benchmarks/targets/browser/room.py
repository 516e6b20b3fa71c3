"""Where a page that measures and this process meet: one server and one desk, kept until the process ends."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from edge_moe.benchmarks.browser.desk import Alive, Desk, Hello
from edge_moe.benchmarks.browser.libraries import Libraries
from edge_moe.benchmarks.browser.server import Server
from edge_moe.benchmarks.browser.site import Content, site_files
from edge_moe.errors import UsageError

__all__ = ["Room", "room"]

_PAGE = "measure.html"
_PORT = 8377  # where it is free: a page that was left open finds the next command
_STUCK_S = 180.0
_logger = logging.getLogger(__name__)


class Room:
    """A server with a desk."""

    def __init__(self, *, lan: bool) -> None:
        """Begin to listen.

        Raises:
            BackendError: the libraries are not set up.
            UsageError: there is no network.
        """
        self.desk = Desk()
        self._site = site_files(Libraries())
        self._files: dict[str, Content] = dict(self._site)
        try:
            self._server = Server(self._files, lan=lan, port=_PORT, api=self.desk.api)
        except UsageError:
            self._server = Server(self._files, lan=lan, api=self.desk.api)
        self._lan, self._silent = lan, False

    @property
    def url(self) -> str:
        """Of the page."""
        return self._server.url + _PAGE

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.close()

    def hand_out(self, files: Mapping[str, Content]) -> None:
        """Hand out these files and, of what was handed out before, the page alone."""
        for address in set(self._files) - set(self._site) - set(files):
            del self._files[address]
        self._files.update(files)

    def page(self) -> Hello:
        """Wait for a page, and say once where it is to be opened."""
        return self.desk.wait_for_page(self._invite)

    def ask(
        self,
        content: Mapping[str, Any],
        *,
        most_bytes: int,
        inputs: bytes = b"",
        told: Callable[[Alive], None] | None = None,
    ) -> bytes:
        """Have the page do a task; see `Desk.ask`. Says when nobody is there, or nobody looks at the page."""
        hidden, moved, seen = False, time.monotonic(), -1

        def watch(alive: Alive | None) -> None:
            nonlocal hidden, moved, seen
            if alive is None and not self._silent:
                self._silent = True
                _logger.info("the page is gone; open %s again, and the measurement goes on", self.url)
            elif alive is not None:
                self._silent = False
                if not alive.visible and not hidden:
                    hidden = True
                    _logger.info("the page is not in front: browsers slow such pages down; bring it to the front")
                if alive.done != seen:
                    moved, seen = time.monotonic(), alive.done
                elif time.monotonic() - moved > _STUCK_S:
                    _logger.info("the page has not moved for minutes; reload it, and the measurement goes on")
                if told is not None:
                    told(alive)

        self.page()
        return self.desk.ask(content, inputs=inputs, most_bytes=most_bytes, told=watch)

    def _invite(self) -> None:
        _logger.info("open %s in the browser that is to be measured, and keep the page in front", self.url)
        if self._lan:
            import segno

            segno.make(self.url).terminal(out=sys.stderr, compact=True)


@cache
def room(*, lan: bool) -> Room:
    """Return the room of this process."""
    return Room(lan=lan)
