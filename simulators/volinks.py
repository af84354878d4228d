"""A Volinks cabinet, quirks included: it never looks at a ttl, and gives a bank for every copy of a command.

It speaks MQTT to the broker it was told of by the HTTP call `connect`, or to the fleet's, and makes its other HTTP
calls when the fleet has an HTTP server.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from firmware_protocol.dialect import Published
from firmware_protocol.dialects.volinks import codec, envelope, topics
from firmware_protocol.dialects.volinks.codes import PopState, ReturnState
from firmware_protocol.dialects.volinks.commands import (
    DownCommand,
    Plain,
    PopByHole,
    PopBySerial,
    Word,
    decode_down,
)
from firmware_protocol.dialects.volinks.frames import (
    Heartbeat,
    PopByHoleResult,
    PopBySerialResult,
    ReturnResult,
    SelfTestReturn,
    UpFrame,
    WifiScan,
)
from firmware_protocol.dialects.volinks.limits import NO_SERIAL
from firmware_protocol.errors import ProtocolError
from firmware_protocol.types import ResetCause, SlotFaultKind
from simulators import volinks_http
from simulators.agenda import Scope
from simulators.battery import PowerBank
from simulators.faults import FaultKind
from simulators.hands import Hands
from simulators.outputs import ConnectVendor, HttpCall, Opening
from simulators.slots import Slot
from simulators.spec import StationSpec
from simulators.tuning import Tuning
from simulators.uplink import Phase
from simulators.vendor import Ending, VendorCabinet
from simulators.volinks_frames import FULLEST, OLD, board_of, hole_of, inventory, serial_of, shape_of

#: 9 min by the guide.
HEARTBEAT_S: Final = 540
#: Heartbeats that did not come back before it restarts.
_MISSES: Final = 2
_AREA: Final = 0
_SOFT: Final = 13
_UPGRADES: Final = frozenset({Word.UPGRADE, Word.UPGRADE_TEST, Word.UPGRADE_ANDROID, Word.UPGRADE_HOLES})
#: How a pop is said to have failed when nothing says otherwise: the motor did not move the bank.
_NOT_MOVED: Final = {OLD: 0x04, "new": PopState.SERIAL_STILL_READABLE}
#: No bank of that serial is here.
_NOT_FOUND: Final = {OLD: 0x03, "new": PopState.SERIAL_NOT_FOUND}
_STILL_RUNNING: Final = {OLD: PopState.FAILED, "new": PopState.PREVIOUS_RUNNING}


class _Seen(Struct):
    """A bank that the self-check has not yet missed."""

    bank: PowerBank
    until_ms: int


class VolinksCabinet(VendorCabinet):
    """`http`: whether the fleet has an HTTP server for its calls."""

    def __init__(
        self, station: StationSpec, tuning: Tuning, hands: Hands, seed: int, now_ms: int, *, http: bool = False
    ) -> None:
        super().__init__(station, tuning, hands, seed, now_ms)
        self._http = http
        self._shape = shape_of(station)
        self._old = station.flavour == OLD
        self._product = topics.DEFAULT_PRODUCT
        self._ghosts: dict[int, _Seen] = {}
        #: Heartbeats sent and not heard back.
        self.unheard = 0
        #: Slots whose bank came while the firmware was not running.
        self._found: list[int] = []

    def opening(self, now_ms: int) -> Opening | HttpCall:
        del now_ms
        if self._http:
            return volinks_http.connect(self.board.station, self.board.tuning.firmware)
        station = self.board.station
        return self._session(
            volinks_http.Broker(
                client_id=station.identity,
                product=self._product,
                host="",
                port=0,
                username=station.identity,
                password=station.secret or "",
            )
        )

    def answered(self, call: HttpCall, status: int, text: str, now_ms: int) -> None:
        if call.name != volinks_http.CONNECT:
            self.board.note(f"http {call.name} {status}", now_ms)
            return
        if self.phase is not Phase.WAITING:
            return
        broker = volinks_http.broker_of(status, text)
        if broker is None:
            self.board.note(f"connect refused {status}", now_ms)
            self.try_again(now_ms)
            return
        self._product = broker.product
        self.connect_with(self._session(broker))

    def greet(self, now_ms: int) -> None:
        board, tuning = self.board, self.board.tuning
        self.ready()
        self.unheard = 0
        period_ms = self._period_ms
        # A random phase: a fleet that came back together must not beat together.
        board.agenda.at(now_ms + board.rng.randrange(period_ms), Scope.LINK, self._heartbeat)
        first_ms = now_ms + int(tuning.first_upload_s * 1000)
        board.agenda.at(first_ms, Scope.LINK, self._upload_on_a_period)
        for number in self._found:
            self._self_test_in(tuning.self_check_ms, number, now_ms)
        self._found.clear()

    def received(self, topic: str, payload: bytes, content_type: str | None, now_ms: int) -> None:
        del content_type
        if self.phase is Phase.CONNECTING:  # what the broker kept comes before its answer to the subscription
            self.opened(now_ms)
        try:
            kind = topics.parse(topic).kind
            if kind is topics.Kind.HEART:
                self.unheard = 0
                return
            command = decode_down(payload, most_holes=0xFF)
        except ProtocolError as error:
            self.unreadable += 1
            self.board.note(f"unreadable {error.code}", now_ms)
            if b'"popup' in payload and not self._old:
                self._answer_hole(PopByHole(hole=0), PopState.NOT_PARSED)
            return
        self._carry_out(command, now_ms)

    def inserted(self, slot: Slot, bank: PowerBank, now_ms: int) -> None:
        if not self.board.running:
            self._found.append(slot.number)
            return
        told = self.board.faults.strikes(FaultKind.RETURN_CODE)
        sn = serial_of(bank)
        state: int = ReturnState.OK if sn != NO_SERIAL else ReturnState.SERIAL_UNREAD
        if told is not None:
            state = told.result
        self._publish(
            ReturnResult(
                board=self._board_of(slot),
                hole=slot.number & 0xFF,
                area=_AREA,
                sn=sn,
                state=state,
                soft=_SOFT,
                soc_raw=bank.charge_pct if sn != NO_SERIAL else 0xFF,
            )
        )
        if told is not None and told.moves:
            self.board.hands.take(self.board.slots.take(slot.number, now_ms))
        elif state == ReturnState.OK and self._http:
            self.board.outputs.append(
                volinks_http.returned(self.board.station, sn, slot.number & 0xFF, bank.charge_pct)
            )
        elif state == ReturnState.ANTI_THEFT_CHECK_FAILED:
            self._self_test_in(self.board.tuning.self_test_ms, slot.number, now_ms)

    def removed(self, slot: int, bank: PowerBank, now_ms: int) -> None:
        """Nothing says so before the next inventory."""

    def jammed(self, slot: Slot, kind: SlotFaultKind, now_ms: int, *, cleared: bool) -> None:
        """Seen in inventories only."""

    def _session(self, broker: volinks_http.Broker) -> ConnectVendor:
        uuid = self.board.station.identity
        heard = (topics.Kind.GET, topics.Kind.HEART)
        return ConnectVendor(
            client_id=broker.client_id,
            username=broker.username,
            password=broker.password or None,
            topics=tuple(topics.topic(uuid, kind, self._product) for kind in heard),
            host=broker.host or None,
            port=broker.port or None,
        )

    def _carry_out(self, command: DownCommand, now_ms: int) -> None:
        match command:
            case PopByHole():
                self._pop_by_hole(command, now_ms)
            case PopBySerial():
                self._pop_by_serial(command, now_ms)
            case Plain(word=Word.CHECK | Word.CHECK_ALL as word):
                self._publish(self._inventory(now_ms, partial=self._old and word is Word.CHECK))
            case Plain(word=Word.UPLOAD_ALL):
                self._upload(now_ms)
            case Plain(word=Word.LOAD_AD) if self._http:
                self.board.outputs.append(volinks_http.adverts(self.board.station))
            case Plain(word=Word.REBOOT):
                self.restart(now_ms)
            case Plain(word=word) if word in _UPGRADES:
                self.restart(now_ms, ResetCause.UPDATE)
            case Plain(word=Word.GET_WIFI):
                self._publish(WifiScan(data=b'["Cafe, upstairs","Guest"]'))
            case _:
                self.board.note(f"{command}", now_ms)

    def _pop_by_hole(self, command: PopByHole, now_ms: int) -> None:
        """Whatever is in the hole, however old the command is."""
        slot = self.board.slots.get(command.hole)
        self._break_off(now_ms)
        if slot is None or slot.bank is None or slot.locked:
            self._answer_hole(command, PopState.FAILED)
        elif self.executor.moving is not None:
            self._answer_hole(command, _STILL_RUNNING[self.board.station.flavour])
        else:
            self._turn(slot, lambda state: self._answer_hole(command, state), now_ms)

    def _pop_by_serial(self, command: PopBySerial, now_ms: int) -> None:
        flavour = self.board.station.flavour
        slot = next((s for s in self.board.slots.with_bank() if s.bank and serial_of(s.bank) == command.sn), None)
        self._break_off(now_ms)
        if self.executor.moving is not None:
            self._answer_serial(command.sn, 0, _STILL_RUNNING[flavour])
        elif slot is None or slot.locked:
            self._answer_serial(command.sn, 0, _NOT_FOUND[flavour])
        else:
            wanted = slot.number & 0xFF
            self._turn(slot, lambda state: self._answer_serial(command.sn, wanted, state), now_ms)

    def _turn(self, slot: Slot, say: Callable[[int], None], now_ms: int) -> None:
        was = slot.bank

        def answer(ending: Ending, due_ms: int) -> None:
            if was is not None and ending.slot.bank is None:
                self._ghosts[ending.slot.number] = _Seen(
                    bank=ending.bank or was, until_ms=due_ms + self.board.tuning.self_check_ms
                )
            failed = _NOT_MOVED[self.board.station.flavour]
            say(ending.code if ending.code is not None else (PopState.OK if ending.bank is not None else failed))

        self.eject(slot, answer, now_ms)

    def _break_off(self, now_ms: int) -> None:
        """The connection may be lost before this command is acknowledged; it is carried out all the same."""
        if self.board.faults.strikes(FaultKind.LOST_PUBACK) is not None:
            self.hang_up(clean=False)
            self.try_again(now_ms)

    def _answer_hole(self, command: PopByHole, state: int) -> None:
        board = board_of(self._shape, command.hole, old=self._old)
        self._publish(PopByHoleResult(board=board, hole=command.hole & 0xFF, state=state, solenoid=_trace(state)))

    def _answer_serial(self, sn: int, hole: int, state: int) -> None:
        byte4 = board_of(self._shape, hole, old=True) if self._old else hole
        self._publish(PopBySerialResult(byte4=byte4, sn=sn, state=state, byte10=_trace(state)))

    def _inventory(self, now_ms: int, *, partial: bool = False) -> UpFrame:
        sentinels = self.board.faults.strikes(FaultKind.SENTINELS) is not None
        for slot in self.board.slots.with_bank():
            if slot.bank is not None:
                slot.bank.charge_until(now_ms)
        holes = [
            hole_of(slot, self._visible(slot, now_ms), self.board.ambient_c, old=self._old, sentinels=sentinels)
            for slot in self.board.slots
        ]
        only = None
        if partial:
            fullest = sorted((hole for hole in holes if hole.occupied), key=lambda hole: -hole.soc_raw)[:FULLEST]
            only = {hole.hole for hole in fullest}
        return inventory(self._shape, holes, old=self._old, only=only)

    def _visible(self, slot: Slot, now_ms: int) -> PowerBank | None:
        """What the sensors say: right after a pop the bank seems to be there still."""
        ghost = self._ghosts.get(slot.number)
        if slot.bank is not None or ghost is None:
            return slot.bank
        if ghost.until_ms <= now_ms:
            del self._ghosts[slot.number]
            return None
        return ghost.bank

    def _self_test_in(self, delay_ms: int, number: int, now_ms: int) -> None:
        self.board.agenda.at(now_ms + delay_ms, Scope.FIRMWARE, lambda due_ms: self._self_test(number, due_ms))

    def _self_test(self, number: int, now_ms: int) -> None:
        """A hole whose state changed while nobody looked."""
        slot = self.board.slots.get(number)
        if slot is None or slot.bank is None:
            return
        slot.bank.charge_until(now_ms)
        hole = hole_of(slot, slot.bank, self.board.ambient_c, old=self._old)
        state = ReturnState.OK if hole.serial is not None else ReturnState.SERIAL_UNREAD
        self._publish(
            SelfTestReturn(
                board=self._board_of(slot),
                hole=hole.hole,
                state=state,
                area=_AREA,
                sn=hole.sn,
                soc_raw=hole.soc_raw,
                temp_raw=hole.temp_raw,
                charge_v_raw=hole.charge_v_raw,
                charge_a_raw=hole.charge_a_raw,
                soft=_SOFT,
            )
        )
        self._upload(now_ms)

    @property
    def _period_ms(self) -> int:
        return max(1, int((self.board.tuning.heartbeat_s or HEARTBEAT_S) * 1000))

    def _heartbeat(self, now_ms: int) -> None:
        if self.unheard >= _MISSES:
            self.board.note("its own heartbeats do not come back", now_ms)
            self.restart(now_ms, ResetCause.WATCHDOG)
            return
        self.unheard += 1
        beat = Heartbeat(board=0x10, data=f"CSQ:{self._csq()};BP:0".encode())
        self._publish(beat, topics.Kind.HEART)
        self.board.agenda.at(now_ms + self._period_ms, Scope.LINK, self._heartbeat)

    def _csq(self) -> int:
        return self.board.rng.randint(12, 31)

    def _upload_on_a_period(self, now_ms: int) -> None:
        if not self._http:
            return
        self._upload(now_ms)
        self.board.outputs.append(volinks_http.adverts(self.board.station))
        self.board.agenda.at(now_ms + int(self.board.tuning.upload_s * 1000), Scope.LINK, self._upload_on_a_period)

    def _upload(self, now_ms: int) -> None:
        if self._http:
            frame = codec.encode_up(self._inventory(now_ms))
            self.board.outputs.append(volinks_http.upload(self.board.station, self._csq(), frame))

    def _board_of(self, slot: Slot) -> int:
        return board_of(self._shape, slot.number, old=self._old)

    def _publish(self, frame: UpFrame, kind: topics.Kind = topics.Kind.UPDATE) -> None:
        faults, rng = self.board.faults, self.board.rng
        if faults.strikes(FaultKind.DROP_EVENTS):
            return
        payload = bytearray(codec.encode_up(frame))
        if faults.strikes(FaultKind.WRONG_LENGTH):
            # As a real one did: the length of an older form of the frame, and a check that fits it.
            payload[2] = (payload[2] - 1) & 0xFF
            payload[-1] = envelope.check_byte(bytes(payload[:-1]))
        if faults.strikes(FaultKind.WRONG_CHECKSUM):
            payload[-1] ^= 0x2A
        topic = topics.topic(self.board.station.identity, kind, self._product)
        if faults.strikes(FaultKind.GARBAGE):
            self.send(Published(topic=topic, payload=rng.randbytes(rng.randint(0, 200)), qos=0))
        for _ in range(2 if faults.strikes(FaultKind.DUPLICATE) else 1):
            self.send(Published(topic=topic, payload=bytes(payload), qos=0))


def _trace(state: int) -> int:
    """The solenoid's trace: a normal pop, or one that did not move."""
    return 0x02 if state == PopState.OK else 0x00
