"""What frames of Relink cabinets mean, and how commands are said to them (decision 0085; numbers: relink.md).

Topics are this gateway's own: `relink/{gateway}/{connection}/{generation}/{epoch}/{box}` up and for replies (epoch 0
before the login is accepted), `relink/{box}` for commands.
"""

from typing import Final, NamedTuple

from firmware_protocol.commands import CommandFrame, EjectPowerBank, QueryInventory, Reboot, SetVolume
from firmware_protocol.dialect import Cadence, Capabilities, Published
from firmware_protocol.dialects.relink import codec, down, up
from firmware_protocol.dialects.relink.answers import LOOK_AFTER_S, abnormal, borrowed, inventory_1, inventory_2
from firmware_protocol.dialects.relink.codes import RESULT_OK, Command, Generation, ReturnResult
from firmware_protocol.dialects.relink.limits import HEADER_BYTES, MAX_VOLUME
from firmware_protocol.dialects.relink.packet import Packet, open_packet
from firmware_protocol.dialects.returning import came_back
from firmware_protocol.errors import InvalidField, TokenMismatch, UnsupportedCommand, WrongChannel
from firmware_protocol.messages import FrameNoted, Heartbeat
from firmware_protocol.vendor import Known, Login, Reading, Sender

PREFIX: Final = "relink"
_UP_LEVELS: Final = 6
_FULL: Final = 100

CAPABILITIES: Final = Capabilities(
    sequence_numbers=False,
    command_ids=False,
    honours_deadline=False,
    journal=False,
    command_qos=0,
    commands=frozenset({"eject_power_bank", "query_inventory", "reboot", "set_volume"}),
    unanswered=frozenset({"reboot", "set_volume"}),
    connection_bound=True,
    only_to_the_living=True,
    self_check_s=LOOK_AFTER_S,
    answer_within_s=15,
    # Every 30 s; offline after three missed: 90 to 100 s (4).
    cadence=Cadence(period_s=30, most_s=120, periods=3, margin_s=5),
)


class Place(NamedTuple):
    """Where a frame came in, by its topic."""

    gateway: str
    connection: int
    generation: Generation
    #: Of the session that the login opened; 0 before.
    epoch: int
    box_id: str

    @property
    def topic(self) -> str:
        return f"{PREFIX}/{self.gateway}/{self.connection}/{int(self.generation)}/{self.epoch}/{self.box_id}"


def place_of(topic: str) -> Place:
    """WrongChannel for a topic that is none of ours."""
    parts = topic.split("/")
    try:
        prefix, gateway, connection, generation, epoch, box_id = parts
        place = Place(gateway, int(connection), Generation(int(generation)), int(epoch), box_id)
    except ValueError:
        raise WrongChannel(f"topic {topic[:120]!r}: expected {_UP_LEVELS} levels of a Relink connection") from None
    if prefix != PREFIX:
        raise WrongChannel(f"topic {topic[:120]!r}: expected {PREFIX}/…")
    return place


class RelinkDialect:
    """Both generations; the login tells which one, for the whole connection."""

    name = "relink"
    capabilities = CAPABILITIES

    def sender(self, topic: str) -> Sender:
        place = place_of(topic)
        return Sender(place.box_id, place.epoch)

    def is_login(self, payload: bytes) -> bool:
        return len(payload) >= HEADER_BYTES and payload[2] == Command.LOGIN

    def read(self, topic: str, payload: bytes, known: Known) -> Reading:
        generation = place_of(topic).generation
        packet = _opened(payload, generation, known)
        message = codec.decode_up(packet, generation)
        reading = _meaning(message, known)
        answer = _answer(message, known)
        if answer is None:
            return reading
        secret = None if generation is Generation.ONE else known.secret
        reply = codec.encode_down(answer, generation, secret)
        beat = None if secret is None else codec.encode_down(down.Ask(Command.HEARTBEAT), generation, secret)
        return Reading(events=reading.events, samples=reading.samples, login=reading.login, reply=reply, heartbeat=beat)

    def encode(self, known: Known, frame: CommandFrame) -> Published:
        # Commands look the same in both generations but for the token, which the first one does not check.
        generation = Generation.ONE if known.secret is None else Generation.TWO
        payload = codec.encode_down(_order(known, frame), generation, known.secret)
        return Published(topic=f"{PREFIX}/{known.hardware_id}", payload=payload, qos=0)


def _opened(payload: bytes, generation: Generation, known: Known) -> Packet:
    if generation is Generation.ONE:
        if known.secret is not None:
            # Else whoever knows the box id would only have to call itself one of the first generation.
            raise TokenMismatch("expected a cabinet of the second generation, which proves itself: it has a secret")
        return open_packet(payload, tolerate_checksum=known.tolerate_checksum)
    if known.secret is None:
        raise TokenMismatch("expected a station with a secret: frames of the second generation carry a token")
    return open_packet(payload, tolerate_checksum=known.tolerate_checksum, secret=known.secret)


def _meaning(message: up.UpMessage, known: Known) -> Reading:  # noqa: PLR0911  # a flat table of frames
    match message:
        case up.Login1():
            return Reading(login=Login(firmware="unknown", hardware="relink 1"))
        case up.Login2():
            return Reading(login=Login(firmware="unknown", hardware="relink 2", slots=message.slots_num))
        case up.Heartbeat():
            return Reading(samples=(Heartbeat(),))
        case up.Inventory1():
            return inventory_1(message, known)
        case up.Inventory2():
            return inventory_2(message, known)
        case up.BorrowResult() | up.EjectResult():
            return Reading(events=borrowed(message, known))
        case up.Return1():
            return Reading(events=came_back(known, message.slot, message.bank, None, LOOK_AFTER_S))
        case up.Return2():
            bank = message.bank
            return Reading(events=came_back(known, bank.slot, bank.bank, bank.level, LOOK_AFTER_S))
        case up.Abnormal():
            return Reading(events=abnormal(message, known))
        case _:  # answers about the cabinet itself
            return Reading(events=(FrameNoted(what=type(message).__name__.lower(), details=(f"{message}",)),))


def _answer(message: up.UpMessage, known: Known) -> down.DownMessage | None:
    """What the cabinet waits for. A bank that nobody knows is taken all the same: it is in the slot."""
    match message:
        case up.Login1():
            return down.LoginReply1(RESULT_OK)
        case up.Login2():
            return down.LoginReply2(result=RESULT_OK, nonce=message.nonce, timestamp=known.at_s)
        case up.Return1():
            return down.ReturnReply1(slot=message.slot, result=RESULT_OK)
        case up.Return2():
            return down.ReturnReply2(result=ReturnResult.OK, bank=message.bank)
        case up.Abnormal():
            return down.Ask(Command.ABNORMAL)
        case _:
            return None


def _order(known: Known, frame: CommandFrame) -> down.DownMessage:
    command = frame.command
    match command:
        case EjectPowerBank():
            return down.Borrow(_slot_of(known, command))
        case QueryInventory():
            return down.Ask(Command.INVENTORY)
        case Reboot():
            return down.Ask(Command.RESTART)
        case SetVolume():
            return down.SetVolume(round(command.volume_pct * MAX_VOLUME / _FULL))
        case _:
            raise UnsupportedCommand(f"{type(command).__name__}: Relink cabinets have no such command")


def _slot_of(known: Known, command: EjectPowerBank) -> int:
    """The cabinet gives whatever is in a slot: only a slot that holds the bank meant, by our books, is named."""
    if command.serial is None:
        assert command.slot is not None  # an eject names a slot, a serial, or both
        return command.slot
    held = known.banks.get(command.serial)
    if held is None or command.slot not in {None, held}:
        raise InvalidField(f"serial: expected {command.serial} in slot {command.slot}, our books have it in {held}")
    return held


RELINK: Final = RelinkDialect()
