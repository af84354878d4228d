"""A vendor's cabinet on a bench: its clock is a number, its network a list, and the backend is the test."""

from typing import TypeVar

from firmware_protocol.dialect import Published
from firmware_protocol.dialects.relink import codec as relink_codec
from firmware_protocol.dialects.relink import down, up
from firmware_protocol.dialects.relink.codes import Generation
from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.dialects.relink.packet import open_packet
from firmware_protocol.dialects.volinks import codec, commands, topics
from firmware_protocol.dialects.volinks.frames import UpFrame
from simulators.battery import PowerBank
from simulators.faults import Fault
from simulators.hands import Hands
from simulators.outputs import ConnectTcp, ConnectVendor, Hangup, HttpCall
from simulators.relink import RelinkCabinet
from simulators.spec import Kind, default_fleet
from simulators.tuning import Tuning
from simulators.uplink import Phase
from simulators.vendor import VendorCabinet
from simulators.volinks import VolinksCabinet
from tests.simulators.virtual import START_MS

F = TypeVar("F")
#: At once, and quiet unless asked.
CALM = Tuning(eject_ms=(0, 0), heartbeat_s=86_400, reboot_ms=(1000, 1000))


class VendorBench:
    """Opens every session that the cabinet asks for, and keeps what it sends."""

    def __init__(self, cabinet: VendorCabinet, hands: Hands) -> None:
        self.now_ms = START_MS
        self.cabinet = cabinet
        self.hands = hands
        self.sent: list[Published] = []
        self.calls: list[HttpCall] = []
        self.opened: list[ConnectVendor | ConnectTcp] = []
        self.hangups = 0

    @property
    def phase(self) -> Phase:
        return self.cabinet.phase

    @property
    def occupied(self) -> list[tuple[int, str]]:
        """Slot and serial of every bank inside."""
        slots = self.cabinet.board.slots
        return [(slot.number, slot.bank.serial) for slot in slots if slot.bank and slot.bank.serial]

    @property
    def empty(self) -> list[int]:
        return [slot.number for slot in self.cabinet.board.slots if slot.bank is None]

    def fault(self, fault: Fault) -> None:
        self.cabinet.add_fault(fault, self.now_ms)
        self.run(0)

    def insert(self, serial: str | None, slot: int | None = None) -> int:
        """A bank that is in a rider's hand, or one that nobody knows."""
        if serial is not None and serial in self.hands:
            bank = self.hands.give_back(serial, self.now_ms)
        else:
            bank = PowerBank(
                serial=serial, charge=50, cycles=0, health_pct=100, capacity_mah=5000, as_of_ms=self.now_ms
            )
        number = self.cabinet.insert(bank, slot, self.now_ms)
        self.run(0)
        return number

    def take_out(self, slot: int) -> None:
        """By force."""
        self.cabinet.remove(slot, self.now_ms)
        self.run(0)

    def run(self, ms: int) -> None:
        """Let time pass, waking the cabinet at each instant at which something is due."""
        end = self.now_ms + ms
        self._carry_out()
        while (due := self.cabinet.next_due()) is not None and due <= end:
            self.now_ms = max(self.now_ms, due)
            self.cabinet.wake(self.now_ms)
            self._carry_out()
        self.now_ms = end

    def _carry_out(self) -> None:
        while outputs := self.cabinet.drain():
            for output in outputs:
                match output:
                    case Published():
                        self.sent.append(output)
                    case ConnectVendor() | ConnectTcp():
                        self.opened.append(output)
                        self.cabinet.opened(self.now_ms)
                    case HttpCall():
                        self.calls.append(output)
                    case Hangup():
                        self.hangups += 1


class Volinks(VendorBench):
    def __init__(
        self,
        kind: Kind = Kind.VOLINKS,
        tuning: Tuning = CALM,
        *,
        http: bool = False,
    ) -> None:
        hands = Hands()
        self.station = default_fleet(1, kind=kind).stations[0]
        super().__init__(VolinksCabinet(self.station, tuning, hands, 1, START_MS, http=http), hands)
        self.cabinet.power_on(START_MS)
        self.run(0)

    def say(self, command: commands.DownCommand) -> None:
        self.raw(commands.encode_down(command))

    def raw(self, payload: bytes, kind: topics.Kind = topics.Kind.GET) -> None:
        self.cabinet.received(topics.topic(self.station.identity, kind), payload, None, self.now_ms)
        self.run(0)

    def frames(self) -> list[UpFrame]:
        """What was published since the last call; raises ProtocolError for what cannot be read."""
        sent, self.sent = self.sent, []
        return [codec.decode_up(each.payload) for each in sent]


class Relink(VendorBench):
    def __init__(self, kind: Kind = Kind.RELINK, tuning: Tuning = CALM) -> None:
        hands = Hands()
        self.station = default_fleet(1, kind=kind).stations[0]
        self.generation = Generation(int(self.station.flavour))
        self.secret = self.station.token_secret.encode() if self.generation is Generation.TWO else None
        super().__init__(RelinkCabinet(self.station, tuning, hands, 1, START_MS), hands)
        self.cabinet.power_on(START_MS)
        self.run(0)

    def say(self, message: down.DownMessage) -> None:
        self.raw(relink_codec.encode_down(message, self.generation, self.secret))

    def raw(self, data: bytes) -> None:
        self.cabinet.received("", data, None, self.now_ms)
        self.run(0)

    def ready(self) -> "Relink":
        """Logged in, and nothing said so far is left."""
        if self.generation is Generation.TWO:
            self.say(down.LoginReply2(result=1, nonce=1, timestamp=self.now_ms // 1000))
        else:
            self.say(down.LoginReply1(1))
        self.sent.clear()
        return self

    def frames(self) -> list[up.UpMessage]:
        """What was written since the last call."""
        framer = Framer()
        sent, self.sent = self.sent, []
        framer.feed(b"".join(each.payload for each in sent))
        messages = []
        while (raw := framer.take()) is not None:
            messages.append(relink_codec.decode_up(open_packet(raw, secret=self.secret), self.generation))
        return messages


def only(kind: type[F], frames: list[UpFrame] | list[up.UpMessage]) -> F:
    """The one frame of `kind`, and no other beside it."""
    assert len(frames) == 1, frames
    assert isinstance(frames[0], kind)
    return frames[0]
