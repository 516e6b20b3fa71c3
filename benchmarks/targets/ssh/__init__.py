"""A board: any Linux machine that the user's ssh reaches, such as a Raspberry Pi, in milliseconds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from edge_moe.backends import Tensor
from edge_moe.benchmarks.fitting import refuse_unfit
from edge_moe.benchmarks.job import Job
from edge_moe.benchmarks.target import Availability, Prices, Session, Target
from edge_moe.benchmarks.targets.ssh.connection import Board, Connection
from edge_moe.benchmarks.targets.ssh.environment import BACKENDS, BoardSetUp, problem
from edge_moe.bundle import ArtifactSet, Bundle, PartSpec
from edge_moe.converters.ranking import row_of
from edge_moe.errors import BackendError, UsageError
from edge_moe.processor import described
from edge_moe.progress import Progress
from edge_moe.records import sha256
from edge_moe.sets import SetKey

if TYPE_CHECKING:
    from edge_moe.benchmarks.targets.ssh.parts import Parts

__all__ = ["TARGET", "Ssh"]

_WORDS = "any Linux board that ssh reaches without a password, in milliseconds"


class Ssh(Target):
    """`ssh:HOST`, where HOST is what one would give to ssh."""

    kind = "ssh"
    sustains = True
    # Host -> what runs parts there: one process, however many ask, for a board does one thing at a time.
    _running: ClassVar[dict[str, Parts]] = {}

    def __init__(self, parameter: str = "") -> None:
        """`parameter`: the host.

        Raises:
            UsageError: it can be none.
        """
        super().__init__(parameter)
        self._way = Connection(self.name, parameter)

    @property
    def row(self) -> str:
        """Of the committed table of recipes: that of a host with such a processor."""
        return row_of(described(self.board.cpuinfo), self.board.machine)

    def available(self) -> list[Availability]:
        """Return whether the board answers, and is set up for each backend; of no board whether there is an ssh."""
        if not self.parameter:
            here = shutil.which("ssh") is not None
            what = "'edge-moe devices setup ssh:HOST' first" if here else "install OpenSSH's client"
            return [Availability("ssh:HOST", here, f"{_WORDS}; {what}" if here else what)]
        try:
            board = self.board
        except BackendError as error:
            return [Availability(self.name, False, str(error))]
        processor = described(board.cpuinfo, board.machine).title
        found = [Availability(self.name, True, f"{processor}, Python {'.'.join(map(str, board.python))}")]
        for name in BACKENDS:
            there = name in self._there
            found.append(Availability(f"{self.name}, {name}", there, "set up" if there else self._to_set_up))
        return found

    def set_up(self) -> BoardSetUp:
        """Return what the board is sent."""
        return BoardSetUp(self._way, self.board)

    def check(self, sets: Sequence[ArtifactSet], threads: int) -> None:
        """Refuse a board that does not answer or is not set up, and sets that it does not run."""
        flags = described(self.board.cpuinfo).flags
        refuse_unfit(self.name, sets, BACKENDS, flags, "this board")
        for backend in dict.fromkeys(one.backend for one in sets):
            self._require(backend)

    def fingerprint(self) -> Any:
        """Return the board, and what it was sent."""
        return (self.name, self.answers_as())

    def answers_as(self) -> str:
        """Return which board it is, and what runs there."""
        board = self.board
        brought = {name: one.get("made_from") for name, one in board.brought.items()}
        return msgspec.json.encode([sha256(board.identity.encode()), board.machine, brought], order="sorted").decode()

    def open(self, job: Job, progress: Progress) -> Session:
        """Send the job, and have the board begin."""
        from edge_moe.benchmarks.targets.ssh.session import BoardSession

        self.check(job.sets, job.plan.threads)
        self.close()
        return BoardSession(self._way, self.board, job, progress)

    def outputs(self, bundle: Bundle, artifacts: ArtifactSet, part: str, inputs: Tensor) -> dict[str, Tensor]:
        """Run the part on the board; the connection stays open for the next."""
        from edge_moe.benchmarks.targets.ssh.parts import Parts

        self.check([artifacts], 1)
        if self.parameter not in self._running:
            there = [name for name in BACKENDS if name in self._there]
            self._running[self.parameter] = Parts(self._way, there)
        try:
            return self._running[self.parameter].run(bundle, artifacts, part, inputs)
        except BaseException:  # its answer may still come, and would be taken for another's
            self.close()
            raise

    def price(
        self,
        files: Mapping[SetKey, Mapping[str, Path]],
        specs: Mapping[str, PartSpec],
        inputs: Mapping[str, Tensor],
        rounds: int,
        progress: Progress,
    ) -> Prices:
        """Time parts on the board, in turns."""
        from edge_moe.benchmarks.targets.ssh.parts import price

        able = {key: parts for key, parts in files.items() if key.backend in BACKENDS}
        for key in able:
            self._require(key.backend)
        self.close()
        return price(self._way, able, inputs, rounds, progress)

    def close(self) -> None:
        """End what runs parts there."""
        if self.parameter in self._running:
            self._running.pop(self.parameter).close()

    @cached_property
    def board(self) -> Board:
        """What the board says of itself.

        Raises:
            UsageError: no board was named.
            BackendError: it cannot be reached, or not be used; says what to do.
        """
        if not self.parameter:
            raise UsageError("ssh has to be told which board; expected what you would give to ssh: ssh:pi@raspberrypi")
        board = msgspec.convert(self._way.ask("look"), Board)
        found = problem(board)
        if found:
            raise BackendError(f"{self.name} cannot be used: {found}")
        return board

    @property
    def _there(self) -> set[str]:
        """What is set up."""
        needed = self.set_up()
        return {item.name for item in needed.items if needed.is_there(item)}

    @property
    def _to_set_up(self) -> str:
        return f"it is not set up: run 'edge-moe devices setup {self.name}'"

    def _require(self, backend: str) -> None:
        if not {"core", backend} <= self._there:
            raise BackendError(f"{self.name} cannot be used: {self._to_set_up}")


TARGET = Ssh
