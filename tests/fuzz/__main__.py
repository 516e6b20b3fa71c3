"""See the package."""

from __future__ import annotations

import argparse
import collections
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np

from edge_moe import EdgeMoeError
from tests.fuzz import __doc__ as words
from tests.fuzz.kinds import KINDS

_SECONDS, _MIB = 20, 500
_ESCAPE = "\x1b"


class _Hangs(BaseException):
    """Not an Exception, so that nobody takes it for a fault of the file."""


def _ring(*_: object) -> None:
    raise _Hangs


def _wrong(message: str) -> str | None:
    if "\n" in message or _ESCAPE in message or len(message) > 2100:
        return f"the message is no line to show: {message!r}"
    return None


def main() -> int:
    """Return 0 where every file was read, or refused in one line, in time, and without much memory."""
    assert words
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=words.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _ring)
    faults: list[str] = []
    outcomes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        mutant, read = KINDS[options.kind](Path(folder))
        file = Path(folder) / "mutant.jpg"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        for number in range(options.count):
            data = mutant(np.random.default_rng((options.seed, number)))
            file.write_bytes(data)
            signal.alarm(_SECONDS)
            fault = None
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(file)
                outcomes["read"] += 1
            except EdgeMoeError as error:
                outcomes["refused"] += 1
                fault = _wrong(str(error))
            except _Hangs:
                fault = f"took more than {_SECONDS} s"
            except BaseException:  # what else there may be
                fault = traceback.format_exc()
            finally:
                signal.alarm(0)
            if fault is not None:
                kept = Path(tempfile.gettempdir()) / f"fuzz-{options.kind}-{options.seed}-{number}"
                kept.write_bytes(data)
                faults.append(f"{kept}: {fault}")
                print(faults[-1], file=sys.stderr)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - before
    print(f"{options.kind}: {options.count} files, {dict(outcomes)}, {len(faults)} faults, {grown} MiB more at most")
    return 1 if faults or grown > _MIB else 0


if __name__ == "__main__":
    sys.exit(main())
