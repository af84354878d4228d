"""A Relink cabinet of either generation: one TCP connection, replies told by their command only."""

from collections.abc import Callable
from typing import Final

from firmware_protocol.dialect import Published
from firmware_protocol.dialects.relink import codec, down, up
from firmware_protocol.dialects.relink.codes import RESULT_OK, Command, Event, Generation
from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.dialects.relink.packet import open_packet
from firmware_protocol.dialects.relink.records import Bank
from firmware_protocol.errors import ProtocolError
from firmware_protocol.types import SlotFaultKind
from simulators.agenda import Scope
from simulators.battery import PowerBank
from simulators.faults import FaultKind
from simulators.hands import Hands
from simulators.outputs import ConnectTcp, Opening
from simulators.relink_frames import coarse_of, id_of, record_of
from simulators.slots import Slot
from simulators.spec import StationSpec
from simulators.tuning import Tuning
from simulators.uplink import Phase
from simulators.vendor import Ending, VendorCabinet

#: As captured.
HEARTBEAT_S: Final = 30
#: Heartbeats without an answer before it connects anew.
_MISSES: Final = 3
#: A login without an answer ends the connection.
_LOGIN_MS: Final = 15_000
_GLUE_MS: Final = 300
_FAILED: Final = 0
_VOLUME: Final = 10


class RelinkCabinet(VendorCabinet):
    """What is returned is told before the slot's switch closes, and again until somebody answers."""

    def __init__(self, station: StationSpec, tuning: Tuning, hands: Hands, seed: int, now_ms: int) -> None:
        super().__init__(station, tuning, hands, seed, now_ms)
        self._generation = Generation(int(station.flavour))
        self._secret = station.token_secret.encode() if self._generation is Generation.TWO else None
        self._framer = Framer()
        self._unanswered = 0
        self._last_login_s = 0
        #: Slots whose switch has not closed yet.
        self._open_switches: set[int] = set()
        #: Slots whose return nobody has answered.
        self._unheard_returns: set[int] = set()
        self._glued: list[bytes] = []
        #: What waits behind the second half of a frame.
        self._behind: list[bytes] = []

    def opening(self, now_ms: int) -> Opening:
        del now_ms
        return ConnectTcp()

    def greet(self, now_ms: int) -> None:
        self._framer = Framer()
        self._glued, self._behind = [], []
        self._unanswered = 0
        self._say(self._login(now_ms), now_ms)
        self.board.agenda.at(now_ms + _LOGIN_MS, Scope.LINK, self._login_missed)

    def received(self, topic: str, payload: bytes, content_type: str | None, now_ms: int) -> None:
        del topic, content_type
        self._framer.feed(payload)
        try:
            while (raw := self._framer.take()) is not None:
                self._read(raw, now_ms)
        except ProtocolError as error:  # the stream is lost
            self._not_read(error, now_ms)
            self.hang_up(clean=False)
            self.try_again(now_ms)

    def inserted(self, slot: Slot, bank: PowerBank, now_ms: int) -> None:
        if not self.board.running:
            return
        told = self.board.faults.strikes(FaultKind.RETURN_CODE)
        self._open_switches.add(slot.number)
        closes_ms = now_ms + self.board.tuning.switch_ms
        self.board.agenda.at(closes_ms, Scope.WORLD, lambda _now: self._open_switches.discard(slot.number))
        self._unheard_returns.add(slot.number)
        self._tell_return(slot, bank, now_ms)
        if told is not None and told.moves:
            self._unheard_returns.discard(slot.number)
            self.board.hands.take(self.board.slots.take(slot.number, now_ms))

    def removed(self, slot: int, bank: PowerBank, now_ms: int) -> None:
        self._abnormal(Event.NO_UNLOCK_COMMAND, slot, bank, now_ms)

    def jammed(self, slot: Slot, kind: SlotFaultKind, now_ms: int, *, cleared: bool) -> None:
        """A sensor that sees a return where no bank is; others are seen in inventories only."""
        if kind is SlotFaultKind.SENSOR and not cleared:
            self._abnormal(Event.RETURN_WITHOUT_BANK, slot.number, None, now_ms)

    def _login(self, now_ms: int) -> up.UpMessage:
        board = self.board
        uptime_ms = max(0, now_ms - board.booted_ms) & 0xFFFF_FFFF
        box_id = board.station.identity
        if self._generation is Generation.ONE:
            return up.Login1(nonce=uptime_ms, box_id=box_id)
        banks = self._records(now_ms)
        return up.Login2(
            nonce=uptime_ms,
            box_id=box_id,
            timestamp=self._last_login_s,
            slots_num=len(board.slots),
            remain=len(banks),
            banks=banks,
        )

    def _login_missed(self, now_ms: int) -> None:
        if self.phase is Phase.GATED:
            self.hang_up(clean=False)
            self.try_again(now_ms)

    def _read(self, raw: bytes, now_ms: int) -> None:
        try:
            message = codec.decode_down(open_packet(raw, secret=self._secret), self._generation)
        except ProtocolError as error:
            self._not_read(error, now_ms)
            return
        self._obey(message, now_ms)

    def _not_read(self, error: ProtocolError, now_ms: int) -> None:
        self.unreadable += 1
        self.board.note(f"unreadable {error.code}", now_ms)

    def _obey(self, message: down.DownMessage, now_ms: int) -> None:
        match message:
            case down.LoginReply1() | down.LoginReply2():
                self._logged_in(message, now_ms)
            case down.ReturnReply1(slot=slot) | down.ReturnReply2(bank=Bank(slot=slot)):
                self._unheard_returns.discard(slot)
            case down.Borrow(slot=slot):
                self._let_out(slot, self._borrowed, now_ms)
            case down.Eject(slot=slot):
                self._let_out(slot, self._ejected, now_ms)
            case down.Ask(command=command):
                self._answer(command, now_ms)
            case _:
                self._configure(message, now_ms)

    def _configure(self, message: down.SetVolume | down.SetServer | down.SetApn | down.AskApn, now_ms: int) -> None:
        match message:
            case down.SetVolume():
                self._say(up.VolumeSet(RESULT_OK if self._generation is Generation.TWO else None), now_ms)
            case down.SetServer():
                self._say(up.Done(Command.SET_SERVER), now_ms)
            case down.SetApn():
                self._say(up.ApnSet(RESULT_OK), now_ms)
            case down.AskApn(index=index):
                self._say(up.Apn(index=index, valid=0, mccmnc="26801", apn="internet"), now_ms)

    def _answer(self, command: Command, now_ms: int) -> None:
        match command:
            case Command.HEARTBEAT:
                self._unanswered = 0
            case Command.INVENTORY:
                self._say(self._inventory(now_ms), now_ms)
            case Command.RESTART:
                self._say(up.Done(Command.RESTART), now_ms)
                self.restart(now_ms)
            case Command.VERSION:
                self._say(up.Version(self.board.tuning.firmware), now_ms)
            case Command.ICCID:
                self._say(up.Iccid(f"8986{self.board.station.identity[-9:]:0>16}"), now_ms)
            case Command.SERVER:
                self._say(up.Server(address="127.0.0.1", port="9066", heartbeat_s=HEARTBEAT_S), now_ms)
            case Command.VOLUME:
                self._say(up.Volume(_VOLUME), now_ms)
            case Command.NETWORK | Command.NETWORK_EARLY:
                self._say(up.Network(csq=self.board.rng.randint(12, 31), error_rate=0, mode=7, command=command), now_ms)
            case _:
                self.board.note(f"{command.name}", now_ms)

    def _logged_in(self, message: down.LoginReply1 | down.LoginReply2, now_ms: int) -> None:
        if self.phase is not Phase.GATED:
            return
        if message.result != RESULT_OK:
            self.board.note("login refused", now_ms)
            self.hang_up(clean=False)
            self.try_again(now_ms)
            return
        if isinstance(message, down.LoginReply2):
            self._last_login_s = message.timestamp
        self.ready()
        board = self.board
        # A random phase: a fleet that came back together must not beat together.
        board.agenda.at(now_ms + board.rng.randrange(self._period_ms), Scope.LINK, self._heartbeat)
        for number in sorted(self._unheard_returns):
            self._repeat_return(number, now_ms)

    @property
    def _period_ms(self) -> int:
        return max(1, int((self.board.tuning.heartbeat_s or HEARTBEAT_S) * 1000))

    def _heartbeat(self, now_ms: int) -> None:
        if self._unanswered >= _MISSES:
            self.board.note("heartbeats are not answered", now_ms)
            self.hang_up(clean=False)
            self.try_again(now_ms)
            return
        self._unanswered += 1
        self._say(up.Heartbeat(), now_ms)
        self.board.agenda.at(now_ms + self._period_ms, Scope.LINK, self._heartbeat)

    def _inventory(self, now_ms: int) -> up.UpMessage:
        if self._generation is Generation.ONE:
            slots = self.board.slots.with_bank()
            self._charge(slots, now_ms)
            banks = tuple(coarse_of(slot, slot.bank) for slot in slots if slot.bank is not None)
            return up.Inventory1(remain=len(banks), banks=banks)
        records = self._records(now_ms)
        return up.Inventory2(slots_num=len(self.board.slots), remain=len(records), banks=records)

    def _records(self, now_ms: int) -> tuple[Bank, ...]:
        slots = self.board.slots.with_bank()
        self._charge(slots, now_ms)
        return tuple(self._record(slot, slot.bank) for slot in slots if slot.bank is not None)

    def _record(self, slot: Slot, bank: PowerBank) -> Bank:
        closed = slot.number not in self._open_switches
        return record_of(slot, bank, self.board.ambient_c, switch_closed=closed)

    @staticmethod
    def _charge(slots: list[Slot], now_ms: int) -> None:
        for slot in slots:
            if slot.bank is not None:
                slot.bank.charge_until(now_ms)

    def _tell_return(self, slot: Slot, bank: PowerBank, now_ms: int) -> None:
        if self.phase is not Phase.WELCOMED:  # told after the next login
            return
        if self._generation is Generation.ONE:
            self._say(up.Return1(slot=slot.number, bank=id_of(bank)), now_ms)
        else:
            self._say(up.Return2(self._record(slot, bank)), now_ms)
        again_ms = now_ms + self.board.tuning.return_repeat_ms
        self.board.agenda.at(again_ms, Scope.LINK, lambda due_ms: self._repeat_return(slot.number, due_ms))

    def _repeat_return(self, number: int, now_ms: int) -> None:
        slot = self.board.slots.get(number)
        if number not in self._unheard_returns:
            return
        if slot is None or slot.bank is None:
            self._unheard_returns.discard(number)
            return
        self._tell_return(slot, slot.bank, now_ms)

    def _let_out(self, number: int, result: Callable[[int, int, str | None], up.UpMessage], now_ms: int) -> None:
        slot = self.board.slots.get(number)
        if slot is None or slot.bank is None or slot.locked or self.executor.moving is not None:
            self._say(result(number, _FAILED, None), now_ms)
            return

        def answer(ending: Ending, due_ms: int) -> None:
            self._unheard_returns.discard(ending.slot.number)
            code = RESULT_OK if ending.bank is not None else _FAILED
            self._say(result(number, code if ending.code is None else ending.code, id_of(ending.bank)), due_ms)

        self.eject(slot, answer, now_ms)

    def _borrowed(self, slot: int, result: int, bank: str | None) -> up.UpMessage:
        if self._generation is Generation.ONE:
            return up.BorrowResult(slot=slot, result=result, bank=bank)
        partner = self.board.slots.get(slot + 1 if slot % 2 else slot - 1)
        occupied = partner is not None and partner.bank is not None
        return up.BorrowResult(slot=slot, result=result, bank=bank, locks=bytes((1, int(occupied), 0)))

    @staticmethod
    def _ejected(slot: int, result: int, bank: str | None) -> up.UpMessage:
        return up.EjectResult(slot=slot, result=result, bank=bank)

    def _abnormal(self, event: Event, slot: int, bank: PowerBank | None, now_ms: int) -> None:
        if self._generation is Generation.TWO and self.board.running:
            self._say(up.Abnormal(event=event, slot=slot, bank=id_of(bank)), now_ms)

    def _say(self, message: up.UpMessage, now_ms: int) -> None:
        faults = self.board.faults
        if faults.strikes(FaultKind.DROP_EVENTS):
            return
        frame = bytearray(codec.encode_up(message, self._generation, self._secret))
        if faults.strikes(FaultKind.WRONG_CHECKSUM):
            frame[4] ^= 0x2A
        if faults.strikes(FaultKind.WRONG_LENGTH):
            frame[1] = (frame[1] + 1) & 0xFF
        frames = [bytes(frame)] * (2 if faults.strikes(FaultKind.DUPLICATE) else 1)
        if faults.strikes(FaultKind.GARBAGE):
            noise = self.board.rng.randbytes(self.board.rng.randint(2, 200))
            frames.insert(0, noise)
        for each in frames:
            self._write(each, now_ms)

    def _write(self, frame: bytes, now_ms: int) -> None:
        faults = self.board.faults
        glue = faults.get(FaultKind.GLUED)
        if glue is not None and faults.strikes(FaultKind.GLUED):
            self._glued.append(frame)
            if len(self._glued) >= glue.window:
                self._release(now_ms)
            elif len(self._glued) == 1:
                self.board.agenda.at(now_ms + _GLUE_MS, Scope.LINK, self._release)
            return
        split = faults.strikes(FaultKind.SPLIT)
        if split is None:
            self._out(frame)
            return
        if self._behind:
            self._behind.append(frame)
            return
        half = len(frame) // 2
        self._out(frame[:half])
        self._behind.append(frame[half:])
        self.board.agenda.at(now_ms + int(split.delay_s * 1000), Scope.LINK, self._second_half)

    def _second_half(self, _now_ms: int) -> None:
        behind, self._behind = self._behind, []
        self._out(b"".join(behind))

    def _release(self, _now_ms: int) -> None:
        glued, self._glued = self._glued, []
        if glued:
            self._out(b"".join(glued))

    def _out(self, data: bytes) -> None:
        if self._behind:
            self._behind.append(data)
        else:
            self.send(Published(topic="", payload=data, qos=0))
