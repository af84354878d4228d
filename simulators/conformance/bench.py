"""A backend for one cabinet, that can be told to be slow, wrong or silent."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct

from firmware_protocol import topics
from firmware_protocol.commands import Ack, Command, CommandFrame, Control, QueryInventory, Resend, Welcome
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.encoding import Encoding
from firmware_protocol.messages import (
    Booted,
    CommandResult,
    EventMessage,
    Inventory,
    JournalRange,
    SampleMessage,
    UpFrame,
)
from firmware_protocol.topics import DownKind
from firmware_protocol.types import CommandOutcome
from simulators.conformance.verdicts import BrokenRequirement, NotRunHere
from simulators.conformance.wire import Passed, Wire

M = TypeVar("M")
_NOT_ALONE: Final = "another backend answers this cabinet: run it on a broker of its own (--mqtt)"


class Patience(Struct, frozen=True, kw_only=True):
    """Seconds. A slow cabinet needs more of the first three; the others only say how long a check takes."""

    #: For the answer to a command that moves nothing.
    answer_s: float = 15
    #: For an eject: 9.2.3 gives the cabinet 10 s.
    eject_s: float = 30
    #: For a restart, with the jitter of 2.6.
    boot_s: float = 120
    #: How long a welcome is withheld: 6.7 has `booted` repeated within 20 s.
    withhold_s: float = 22
    #: How long nothing may come where nothing may come.
    silence_s: float = 2


class Bench:
    """`alone`: there is no other backend, and this one welcomes and acknowledges unless told otherwise."""

    def __init__(self, wire: Wire, patience: Patience, *, alone: bool, ejects: bool) -> None:
        self.wire = wire
        self.patience = patience
        self.alone = alone
        self.ejects = ejects
        #: Off at first: the checks begin with a cabinet that is kept waiting.
        self.welcomes = False
        self.acknowledges = False
        #: The boot from which a restart was ordered.
        self.restarted_from: int | None = None
        self.heartbeat_s = 30
        self.telemetry_s = 60
        #: Ids of the commands that were sent, and how often each.
        self.sent: dict[str, int] = {}
        #: The last seq of each boot that is stored, or was before us.
        self._through: dict[int, int] = {}
        self._acked: dict[int, int] = {}
        wire.on_frame = self._answer

    # --- what was heard ---

    @property
    def mark(self) -> int:
        """Where the row ends now."""
        return len(self.wire.row)

    def heard(self, since: int = 0) -> Iterator[Passed]:
        """Frames of the cabinet that can be read."""
        return (each for each in self.wire.row[since:] if each.frame is not None)

    def frames(self, kind: type[M], since: int = 0) -> list[tuple[UpFrame, M]]:
        found = ((each.frame, each.frame.message) for each in self.heard(since) if each.frame is not None)
        return [(frame, message) for frame, message in found if isinstance(message, kind)]

    def events(self, since: int = 0) -> list[UpFrame]:
        return [each.frame for each in self.heard(since) if each.frame and isinstance(each.frame.message, EventMessage)]

    def samples(self) -> list[UpFrame]:
        return [each.frame for each in self.heard() if each.frame and isinstance(each.frame.message, SampleMessage)]

    def await_frame(
        self, kind: type[M], what: str, *, since: int, timeout_s: float, of: Callable[[UpFrame, M], bool] | None = None
    ) -> tuple[UpFrame, M]:
        def found() -> tuple[UpFrame, M] | None:
            return next((each for each in self.frames(kind, since) if of is None or of(*each)), None)

        return self.wire.wait(found, timeout_s, what)

    def booted(self, since: int, *, timeout_s: float | None = None) -> tuple[UpFrame, Booted]:
        return self.await_frame(Booted, "booted", since=since, timeout_s=timeout_s or self.patience.boot_s)

    # --- what is said ---

    def order(self, command: Command, *, command_id: str | None = None, deadline_s: float = 60) -> str:
        """Send it; the id. `command_id`: the same command again."""
        own = command_id or str(uuid4())
        self.sent[own] = self.sent.get(own, 0) + 1
        frame = CommandFrame(
            command_id=own, deadline_ms=_now_ms() + round(deadline_s * 1000), attempt=self.sent[own], command=command
        )
        self.wire.say(NATIVE.encode_command(self.wire.code, frame))
        return own

    def order_raw(self, type_: str, data: dict[str, Any], **more: object) -> str:
        """A command that this protocol may not know."""
        own = str(uuid4())
        self.sent[own] = 1
        tree = {"v": 1, "id": own, "deadline": _now_ms() + 60_000, "attempt": 1, "type": type_, "data": data, **more}
        self.say_bytes(msgspec.json.encode(tree), Encoding.JSON.content_type)
        return own

    def say_bytes(self, payload: bytes, content_type: str | None) -> None:
        topic = topics.down(self.wire.code, DownKind.COMMAND)
        self.wire.say(Published(topic=topic, payload=payload, qos=1, content_type=content_type))

    def result(
        self, command_id: str, *, number: int = 1, timeout_s: float | None = None
    ) -> tuple[UpFrame, CommandResult]:
        """The result of a command, or its repetition."""

        def found() -> tuple[UpFrame, CommandResult] | None:
            results = self.results(command_id)
            return results[number - 1] if len(results) >= number else None

        what = "command_result" if number == 1 else f"command_result number {number} of one command"
        return self.wire.wait(found, timeout_s or self.patience.answer_s, what)

    def results(self, command_id: str) -> list[tuple[UpFrame, CommandResult]]:
        """Each once: what is replayed is the same event."""
        found = {
            (frame.boot, frame.seq): (frame, result)
            for frame, result in self.frames(CommandResult)
            if result.command_id == command_id
        }
        return [found[key] for key in sorted(found)]

    def carry_out(self, command: Command) -> tuple[UpFrame, CommandResult]:
        """Order it; its result, whatever it is."""
        return self.result(self.order(command))

    def inventory(self) -> Inventory:
        """What is in the slots now. BrokenRequirement when the cabinet does not say."""
        command_id = self.order(QueryInventory())
        _, result = self.result(command_id)
        told = [message for _, message in self.frames(Inventory) if message.command_id == command_id]
        if result.outcome is not CommandOutcome.SUCCEEDED or not told:
            raise BrokenRequirement(f"query_inventory: {result.outcome}, {len(told)} inventories with its id")
        return told[-1]

    def control(self, control: Control) -> None:
        self.wire.say(NATIVE.encode_control(self.wire.code, control))

    def welcome(self, epoch: int, **more: int) -> None:
        self.control(
            Welcome(
                epoch=epoch,
                server_ms=_now_ms(),
                **({"heartbeat_s": self.heartbeat_s, "telemetry_s": self.telemetry_s} | more),
            )
        )

    def resend(self, *ranges: JournalRange) -> None:
        self.control(Resend(ranges=ranges))

    def acknowledged(self, boot: int) -> int:
        """Through which seq of a boot we said that events are stored."""
        return self._acked.get(boot, self._through.get(boot, 0))

    def acknowledge(self) -> None:
        """What was heard without a gap, of every boot."""
        for boot in sorted(self._through):
            self._ack(boot)

    def need_alone(self) -> None:
        if not self.alone:
            raise NotRunHere(_NOT_ALONE)

    # --- as a backend, on the network's thread ---

    def _answer(self, passed: Passed) -> None:
        frame = passed.frame
        if frame is None or not self.alone:
            return
        if isinstance(frame.message, Booted):
            self._expect(frame, frame.message)
            if self.welcomes:
                self.welcome(frame.message.epoch)
        elif isinstance(frame.message, EventMessage):
            self._store(frame)
            if self.acknowledges:
                self._ack(frame.boot)

    def _expect(self, frame: UpFrame, booted: Booted) -> None:
        """Where the events begin that it still holds; all before them were acknowledged by somebody."""
        for held in booted.journal:
            self._through.setdefault(held.boot, held.first - 1)
        self._through.setdefault(frame.boot, 0)

    def _store(self, frame: UpFrame) -> None:
        self._through.setdefault(frame.boot, frame.seq - 1)

    def _ack(self, boot: int) -> None:
        stored = {frame.seq for frame in self.events() if frame.boot == boot}
        through = self._through[boot]
        while through + 1 in stored:
            through += 1
        if through:
            self._acked[boot] = through
            self.control(Ack(boot=boot, through=through))


def in_order(frames: list[UpFrame]) -> bool:
    """By (boot, seq), rising."""
    return all((a.boot, a.seq) < (b.boot, b.seq) for a, b in pairwise(frames))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
