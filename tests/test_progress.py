from __future__ import annotations

import io
import sys

import pytest

from edge_moe import progress as module
from edge_moe.progress import Progress, Silent, shown_progress, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Log:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, name: str, total: int, done: int = 0) -> None:
        self.calls.append(("start", name, total, done))

    def advance(self, name: str, note: str = "") -> None:
        self.calls.append(("advance", name, note))


def test_track_reports_each_item_once_it_is_done() -> None:
    log = Log()
    items = track("ab", "it", 2, log)
    assert log.calls == []
    assert next(items) == "a"
    assert log.calls == [("start", "it", 2, 0)]
    assert list(items) == ["b"]
    assert log.calls[1:] == [("advance", "it", "")] * 2


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track("abc", "it", 3, Silent())) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with shown_progress() as progress:
        progress.start("base", 5, 1)
        for epoch in range(2, 6):
            progress.advance("base", f"loss {epoch}")
            now[0] += 6
    assert capsys.readouterr().err.splitlines() == [
        "base 2/5 loss 2",
        "base 4/5 loss 4, 4 s left",  # two took 12 s, one is left of three that were done
        "base 5/5 loss 5",
    ]


@pytest.mark.parametrize(("seconds", "expected"), [(60, "60 s"), (1200, "20 min"), (36_000, "10.0 h"), (0.5, "")])
def test_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seconds: float, expected: str
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with shown_progress() as progress:
        progress.start("it", 10, 4)  # four of them in an earlier sitting
        now[0] += seconds / 5
        progress.advance("it")
    wanted = f"it 5/10 {expected} left" if expected else "it 5/10"
    assert capsys.readouterr().err.strip() == wanted


def test_a_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def report(progress: Progress) -> None:
        progress.start("base", 30, 2)
        progress.advance("base", "loss 0.5")
        progress.start("base", 3, 3)  # a name that comes again goes on
        progress.start("gate", 7)

    with shown_progress() as progress:
        report(progress)
    last = terminal.getvalue().split("base")[-1]
    assert "3/3" in last
    assert "loss 0.5" in last
    assert "gate" in last
    assert "0/7" in last
