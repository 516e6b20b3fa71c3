"""A browser: whatever opens a page of ours, on this machine or, on the local network, any phone in the room."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_moe.backends import Tensor
from edge_moe.benchmarks.browser.libraries import Libraries, problem
from edge_moe.benchmarks.browser.site import BACKEND
from edge_moe.benchmarks.fitting import refuse_unfit
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.target import Availability, Prices, Session, Target
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.errors import BackendError, MissingExtraError, UsageError
from edge_moe.progress import Progress
from edge_moe.sets import SetKey

__all__ = ["TARGET", "Browser"]

_LAN = "lan"
_NEEDED = ("starlette", "uvicorn", "segno")


class Browser(Target):
    """`browser`: on this machine; `browser:lan`: on a device of the local network."""

    kind = "browser"

    def __init__(self, parameter: str = "") -> None:
        """`parameter`: lan, or nothing.

        Raises:
            UsageError: another one.
        """
        if parameter not in ("", _LAN):
            raise UsageError(f"unknown device 'browser:{parameter}'; expected browser or browser:{_LAN}")
        super().__init__(parameter)

    @cached_property
    def libraries(self) -> Libraries:
        """What the page runs on."""
        return Libraries()

    @property
    def row(self) -> str:
        """What it is called in the committed table, wherever the browser is."""
        return self.kind

    def available(self) -> list[Availability]:
        """Return both ways, and what runs the artifacts."""
        what = self._problem
        words = {"": "any browser on this machine", _LAN: "any browser on the local network, such as a phone's"}
        asked = [words[self.parameter]] if self.parameter else words.values()
        names = [self.name] if self.parameter else [f"{self.kind}:{one}" if one else self.kind for one in words]
        found = [Availability(name, not what, what or one) for name, one in zip(names, asked, strict=True)]
        return [*found, Availability(f"browser, {BACKEND}", not what, what or self.libraries.version)]

    @cached_property
    def _lacking(self) -> str:
        """A package that is not installed; nothing where all are."""
        return next((name for name in _NEEDED if importlib.util.find_spec(name) is None), "")

    @cached_property
    def _problem(self) -> str:
        """Why it cannot be used, and what to do; asked once, for every file of the libraries is hashed for that."""
        return "run: pip install 'edge-moe[web]'" if self._lacking else problem(self.libraries)

    def set_up(self) -> Libraries:
        """Return what the page runs on."""
        return self.libraries

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse more than one thread, and sets that LiteRT.js does not run."""
        if self._lacking:
            raise MissingExtraError(self._lacking, "web", f"the device {self.name}")
        if self._problem:
            raise BackendError(f"{self.name} cannot be used: {self._problem}")
        if threads != 1:
            raise UsageError(f"threads is {threads}; {self.name} runs LiteRT.js on one thread: expected 1")
        refuse_unfit(self.name, sets, (BACKEND,), (), "a browser")

    def fingerprint(self) -> Any:
        """Return the name, and the library; which browser it is stands in the opening."""
        return (self.name, self.libraries.items)

    def answers_as(self) -> str:
        """Return which browser answers; waits for one."""
        found: str = self._room.page().identity
        return found

    def open(self, job: Job, progress: Progress) -> Session:
        """Wait for a page, and have it open the job."""
        from edge_moe.benchmarks.targets.browser.session import BrowserSession

        self.check(job.sets, job.plan.threads)
        return BrowserSession(job, self.name, self._room, self.libraries.version)

    def outputs(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run the part in the browser."""
        from edge_moe.benchmarks.targets.browser.session import outputs

        self.check([artifacts], 1)
        return outputs(self._room, bundle, artifacts, part, inputs)

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Time parts in the browser, in turns."""
        from edge_moe.benchmarks.targets.browser.session import price

        self.check([], 1)
        able = {key: parts for key, parts in files.items() if key.backend == BACKEND}
        return price(self._room, able, specs, inputs, rounds, progress)

    @property
    def _room(self) -> Any:
        from edge_moe.benchmarks.targets.browser.room import room

        return room(lan=self.parameter == _LAN)


TARGET = Browser
