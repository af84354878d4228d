"""What the backend says to a Relink cabinet: replies to its requests, and commands."""

from msgspec import Struct

from firmware_protocol.dialects.relink.codes import Command
from firmware_protocol.dialects.relink.records import Bank


class LoginReply1(Struct, frozen=True):
    """1 accepts, 0 refuses."""

    result: int


class LoginReply2(Struct, frozen=True, kw_only=True):
    """`timestamp`: s since 1970; the cabinet says it again at its next login."""

    result: int
    nonce: int
    timestamp: int


class ReturnReply1(Struct, frozen=True, kw_only=True):
    slot: int
    result: int


class ReturnReply2(Struct, frozen=True, kw_only=True):
    """The record of the request again, with a result of `codes.ReturnResult`."""

    result: int
    bank: Bank


class Ask(Struct, frozen=True):
    """Any command or reply without a payload: heartbeat, inventory, restart, questions, the answer to an event."""

    command: Command


class Borrow(Struct, frozen=True):
    """Ejects whatever is in the slot, and again when it arrives twice."""

    slot: int


class Eject(Struct, frozen=True):
    """The same for staff."""

    slot: int


class SetServer(Struct, frozen=True, kw_only=True):
    """A wrong one strands the cabinet. Second generation: the layout is uncertain; not before a bench test."""

    address: str
    port: str
    heartbeat_s: int


class SetVolume(Struct, frozen=True):
    """0 to 15."""

    level: int


class SetApn(Struct, frozen=True, kw_only=True):
    """First generation. Sources disagree about `valid`: not before a bench test."""

    index: int
    valid: int
    mccmnc: str
    apn: str
    user: str = ""
    password: str = ""


class AskApn(Struct, frozen=True):
    """0 to 4."""

    index: int


DownMessage = (
    LoginReply1
    | LoginReply2
    | ReturnReply1
    | ReturnReply2
    | Ask
    | Borrow
    | Eject
    | SetServer
    | SetVolume
    | SetApn
    | AskApn
)
