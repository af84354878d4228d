"""A cabinet on a bench: its clock is a number, its network a list, and the backend is the test."""

from typing import TypeVar
from uuid import UUID

from firmware_protocol.commands import Ack, Command, CommandFrame, Control, Resend, Welcome
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import Booted, Heartbeat, JournalRange, SlotTelemetry, UpFrame, UpMessage
from simulators.cabinet import Cabinet
from simulators.hands import Hands
from simulators.outputs import Connect, Hangup, Output
from simulators.spec import StationSpec, default_fleet
from simulators.tuning import Tuning

START_MS = 1_795_000_000_000
M = TypeVar("M", bound=UpMessage)


def command_id(number: int) -> str:
    return str(UUID(int=number))


class Bench:
    """Opens every session that the cabinet asks for, and keeps what it publishes."""

    def __init__(self, tuning: Tuning | None = None, *, seed: int = 1, station: StationSpec | None = None) -> None:
        self.now_ms = START_MS
        self.station = station or default_fleet(1, seed).stations[0]
        self.hands = Hands()
        self.cabinet = Cabinet(self.station, tuning or Tuning(), self.hands, seed, self.now_ms)
        self.link_works = True
        self.will: Published | None = None
        self.hangups: list[bool] = []
        self.raw: list[Published] = []
        self._read = 0

    @property
    def occupied(self) -> list[tuple[int, str]]:
        """Slot and serial of every bank inside."""
        slots = self.cabinet.board.slots
        return [(slot.number, slot.bank.serial) for slot in slots if slot.bank and slot.bank.serial]

    @property
    def empty(self) -> list[int]:
        return [slot.number for slot in self.cabinet.board.slots if slot.bank is None]

    def power_on(self) -> "Bench":
        self.cabinet.power_on(self.now_ms)
        self.run(0)
        return self

    def ready(self, *, heartbeat_s: int = 86_400, telemetry_s: int = 86_400) -> "Bench":
        """Powered on, welcomed, and everything so far acknowledged and forgotten."""
        self.power_on()
        self.welcome(heartbeat_s=heartbeat_s, telemetry_s=telemetry_s)
        self.ack()
        self.take()
        return self

    def run(self, ms: int) -> None:
        """Let time pass, waking the cabinet at each instant at which something is due."""
        end = self.now_ms + ms
        self._carry_out()
        while (due := self.cabinet.next_due()) is not None and due <= end:
            self.now_ms = max(self.now_ms, due)
            self.cabinet.wake(self.now_ms)
            self._carry_out()
        self.now_ms = end

    def say(self, message: Control | CommandFrame) -> None:
        """The backend speaks."""
        code = self.station.code
        if isinstance(message, CommandFrame):
            sent = NATIVE.encode_command(code, message)
        else:
            sent = NATIVE.encode_control(code, message)
        self.cabinet.received(sent.topic, sent.payload, sent.content_type, self.now_ms)
        self.run(0)

    def welcome(
        self,
        *,
        heartbeat_s: int = 86_400,
        telemetry_s: int = 86_400,
        boot_floor: int = 0,
        epoch_floor: int = 0,
        retry_after_s: int | None = None,
        ahead_ms: int = 0,
    ) -> None:
        self.say(
            Welcome(
                epoch=self.cabinet.board.epoch,
                server_ms=self.now_ms + ahead_ms,
                heartbeat_s=heartbeat_s,
                telemetry_s=telemetry_s,
                boot_floor=boot_floor,
                epoch_floor=epoch_floor,
                retry_after_s=retry_after_s,
            )
        )

    def ack(self, through: int | None = None) -> None:
        board = self.cabinet.board
        self.say(Ack(boot=board.boot, through=board.seq if through is None else through))

    def resend(self, *ranges: tuple[int, int, int]) -> None:
        self.say(Resend(ranges=tuple(JournalRange(boot=b, first=f, last=t) for b, f, t in ranges)))

    def command(self, command: Command, *, number: int = 1, deadline_s: float = 30, attempt: int = 1) -> str:
        self.say(
            CommandFrame(
                command_id=command_id(number),
                deadline_ms=self.now_ms + int(deadline_s * 1000),
                attempt=attempt,
                command=command,
            )
        )
        return command_id(number)

    def drop_link(self) -> None:
        """The wire is cut; the cabinet will try again in its own time."""
        self.cabinet.closed(self.now_ms)
        self._carry_out()

    def take(self) -> list[UpFrame]:
        """Frames published since the last call."""
        fresh, self._read = self.raw[self._read :], len(self.raw)
        return [NATIVE.decode(item.topic, item.payload, item.content_type) for item in fresh]

    def events(self) -> list[UpMessage]:
        """As `take`, without what the connection itself needs and without samples."""
        return [
            frame.message
            for frame in self.take()
            if frame.seq and not isinstance(frame.message, Heartbeat | SlotTelemetry)
        ]

    def booted(self) -> Booted:
        """The last Booted published since the last call of `take`."""
        return [frame.message for frame in self.take() if isinstance(frame.message, Booted)][-1]

    def _carry_out(self) -> None:
        while outputs := self.cabinet.drain():
            for output in outputs:
                self._one(output)

    def _one(self, output: Output) -> None:
        match output:
            case Published():
                self.raw.append(output)
            case Connect(will=will):
                self.will = will
                if self.link_works:
                    self.cabinet.opened(self.now_ms)
                else:
                    self.cabinet.closed(self.now_ms)
            case Hangup(clean=clean):
                self.hangups.append(clean)


def only(kind: type[M], messages: list[UpMessage]) -> M:
    """The one message of `kind`."""
    found = [message for message in messages if isinstance(message, kind)]
    assert len(found) == 1, messages
    return found[0]
