"""Keeping what a native library says about itself off the user's terminal."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["filtered_stderr"]


@contextmanager
def filtered_stderr(clean: Callable[[bytes], bytes]) -> Iterator[None]:
    """Send what is written to file descriptor 2 inside of the block through `clean`.

    Descriptor 2 goes to a temporary file for as long as the block runs, and what `clean` leaves of it is then written
    where it belongs. Only while this is the only Python thread, so that no other can start a child process that
    inherits the file; with others nothing is changed.
    """
    if threading.active_count() > 1:
        yield
        return
    with ExitStack() as stack:
        try:
            written = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # no stderr, or no room for a file: not worth failing for
            yield
            return
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            if rest := clean(written.read()):
                os.write(2, rest)
