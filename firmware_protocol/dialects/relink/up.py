"""What a Relink cabinet says: requests of its own, and replies that are told by their command only."""

from msgspec import Struct

from firmware_protocol.dialects.relink.codes import RESULT_OK, Command
from firmware_protocol.dialects.relink.records import Bank, CoarseBank


class Login1(Struct, frozen=True, kw_only=True):
    """`extra`: bytes after the declared texts, which some firmware sends and nobody has described."""

    nonce: int
    box_id: str
    reg_data: str | None = None
    extra: bytes = b""


class Login2(Struct, frozen=True, kw_only=True):
    """`nonce` counts ms since boot; `timestamp` is what the last login reply said, never the current time.

    Only occupied slots are in `banks`. `remain` should be their number; the records are believed.
    """

    nonce: int
    box_id: str
    timestamp: int
    slots_num: int
    remain: int
    banks: tuple[Bank, ...] = ()


class Heartbeat(Struct, frozen=True):
    """Answered with the same bytes."""


class Version(Struct, frozen=True):
    text: str


class Inventory1(Struct, frozen=True, kw_only=True):
    """Occupied slots only; how many slots there are is not said."""

    remain: int
    banks: tuple[CoarseBank, ...] = ()


class Inventory2(Struct, frozen=True, kw_only=True):
    """Occupied slots only, of `slots_num`."""

    slots_num: int
    remain: int
    banks: tuple[Bank, ...] = ()


class BorrowResult(Struct, frozen=True, kw_only=True):
    """`locks`: second generation, two or three bytes: own lock, the neighbour's, and one of unknown meaning."""

    slot: int
    result: int
    bank: str | None
    locks: bytes = b""

    @property
    def ok(self) -> bool:
        return self.result == RESULT_OK


class EjectResult(Struct, frozen=True, kw_only=True):
    slot: int
    result: int
    bank: str | None

    @property
    def ok(self) -> bool:
        return self.result == RESULT_OK


class Return1(Struct, frozen=True, kw_only=True):
    """A request; unanswered it will be repeated, so that closing a rental must be idempotent."""

    slot: int
    bank: str | None


class Return2(Struct, frozen=True):
    """A request, sent before the slot's switch has closed: an inventory confirms it."""

    bank: Bank


class Iccid(Struct, frozen=True):
    text: str


class Server(Struct, frozen=True, kw_only=True):
    """Where the cabinet connects to; `port` is a text on the wire."""

    address: str
    port: str
    heartbeat_s: int


class VolumeSet(Struct, frozen=True):
    """`result` None: firmware that answers with nothing."""

    result: int | None = None


class Volume(Struct, frozen=True):
    """0 to 15."""

    level: int


class Network(Struct, frozen=True, kw_only=True):
    """`mode`: 2 GSM, 3 WCDMA, 5 WiFi, 7 LTE. `command`: newer and older firmware ask differently."""

    csq: int
    error_rate: int
    mode: int
    command: Command = Command.NETWORK


class ApnSet(Struct, frozen=True):
    result: int


class Apn(Struct, frozen=True, kw_only=True):
    """What `valid` means differs between sources."""

    index: int
    valid: int
    mccmnc: str
    apn: str


class Abnormal(Struct, frozen=True, kw_only=True):
    """Second generation. Event 1: a bank left, or a slot opened, without an order."""

    event: int
    slot: int
    bank: str | None


class Done(Struct, frozen=True):
    """An empty reply: to a new server address, a restart, a volume of the first generation."""

    command: Command


class Opaque(Struct, frozen=True, kw_only=True):
    """A reply that nobody has described: to be logged and ignored."""

    command: Command
    payload: bytes


UpMessage = (
    Login1
    | Login2
    | Heartbeat
    | Version
    | Inventory1
    | Inventory2
    | BorrowResult
    | EjectResult
    | Return1
    | Return2
    | Iccid
    | Server
    | VolumeSet
    | Volume
    | Network
    | ApnSet
    | Apn
    | Abnormal
    | Done
    | Opaque
)
