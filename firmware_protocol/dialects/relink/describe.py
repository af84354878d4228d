"""Relink bytes as JSON values for people's tools, under field names that stay (those of the golden vectors).

One frame does not say who sent it, and the backend's frames do not say their generation: the first reading that the
length allows is taken, the cabinet's before the backend's.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import structs

from firmware_protocol.dialects.relink import down, up
from firmware_protocol.dialects.relink.codec import decode_down, decode_up
from firmware_protocol.dialects.relink.codes import Generation
from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.dialects.relink.limits import HEADER_BYTES, LENGTH_BYTES, MAGIC_1, MAGIC_2, VERSION_1, VERSION_2
from firmware_protocol.dialects.relink.packet import Packet, open_packet
from firmware_protocol.dialects.relink.records import Bank
from firmware_protocol.errors import (
    FrameTruncated,
    LengthMismatch,
    ProtocolError,
    UnknownLayout,
    UnsupportedVersion,
    quote,
)

Message = up.UpMessage | down.DownMessage

#: Cabinets of the second generation end a borrow's reply with these.
_LOCK_NAMES: Final = ("slot_lock", "adjacent_lock")


def describe(data: bytes, *, tolerate_checksum: bool = False, secret: bytes | None = None) -> dict[str, Any]:
    """One frame, or `frames` and the `rest` of a stream. With `secret` each frame says whether its token fits.

    Raises only ProtocolError, for the first frame that is wrong.
    """
    framer = Framer()
    framer.feed(data)
    frames = []
    while (raw := framer.take()) is not None:
        frames.append(_frame(raw, tolerate_checksum=tolerate_checksum, secret=secret))
    rest = framer.pending
    if not frames:
        raise _incomplete(data)
    if len(frames) == 1 and not rest:
        return frames[0]
    return {"frames": frames, "rest": rest.hex().upper()}


def _incomplete(data: bytes) -> ProtocolError:
    if len(data) < HEADER_BYTES:
        return FrameTruncated(f"expected at least {HEADER_BYTES} bytes, got {len(data)}: {quote(data)}")
    length = int.from_bytes(data[:LENGTH_BYTES], "big")
    return LengthMismatch(f"expected {length} bytes after the length, got {len(data) - LENGTH_BYTES}: {quote(data)}")


def _frame(raw: bytes, *, tolerate_checksum: bool, secret: bytes | None) -> dict[str, Any]:
    packet = open_packet(raw, tolerate_checksum=tolerate_checksum)
    shown: dict[str, Any] = {
        "cmd": f"0x{packet.command:02X}",
        "ver": packet.version,
        "length": len(raw) - LENGTH_BYTES,
        "length_ok": True,
        "chk": packet.check,
        "token": packet.token.hex().upper(),
        "checksum_ok": packet.checksum_ok,
    } | _body(_understood(packet))
    if secret is not None:
        shown["token_ok"] = packet.token_ok(secret)
    return shown


def _understood(packet: Packet) -> Message:
    first: ProtocolError | None = None
    for decode, generation in _READINGS.get(packet.version, ()):
        try:
            message: Message = decode(packet, generation)
        except ProtocolError as error:
            first = first or error
        else:
            # An answer that nobody has described is the last thing to take a frame for.
            if not (isinstance(message, up.Opaque) and not message.payload):
                return message
    raise first or UnsupportedVersion(f"expected version 1 or 2, got {packet.version}")


#: By version byte: cabinets send that of their generation, the backend 1 to either and 2 in replies to the second.
_READINGS: Final[Mapping[int, tuple[tuple[Callable[[Packet, Generation], Message], Generation], ...]]] = (
    MappingProxyType(
        {
            VERSION_1: (
                (decode_up, Generation.ONE),
                (decode_down, Generation.ONE),
                (decode_down, Generation.TWO),
            ),
            VERSION_2: ((decode_up, Generation.TWO), (decode_down, Generation.TWO)),
        }
    )
)


def _body(message: Message) -> dict[str, Any]:  # noqa: PLR0911  # a flat table of messages
    match message:
        case up.Login1() | up.Login2():
            return _login(message)
        case up.Inventory1():
            slots = [{"slot": bank.slot, "id": bank.bank, "level": bank.level} for bank in message.banks]
            return {"remain": message.remain, "slots": slots}
        case up.Inventory2():
            return {
                "slots_num": message.slots_num,
                "remain": message.remain,
                "slots": [_bank(bank) for bank in message.banks],
            }
        case up.BorrowResult() | up.EjectResult():
            return {"slot": message.slot, "result": message.result, "id": message.bank} | _locks(message)
        case down.ReturnReply2():
            record = _bank(message.bank)
            return {"slot": record.pop("slot"), "result": message.result} | record
        case up.Return2():
            return _bank(message.bank)
        case up.Opaque():
            raise UnknownLayout(f"0x{message.command:02X}: no known layout, got {quote(message.payload)}")
        case _:
            return _plain(message)


def _login(message: up.Login1 | up.Login2) -> dict[str, Any]:
    magic = MAGIC_1 if isinstance(message, up.Login1) else MAGIC_2
    shown: dict[str, Any] = {"nonce": message.nonce, "magic": f"0x{magic:04X}", "box_id": message.box_id}
    if isinstance(message, up.Login1):
        return shown if message.reg_data is None else shown | {"reg_data": message.reg_data}
    return shown | {
        "timestamp": message.timestamp,
        "slots_num": message.slots_num,
        "remain": message.remain,
        "slots": [_bank(bank) for bank in message.banks],
        "trailing": 0,
    }


def _locks(message: up.BorrowResult | up.EjectResult) -> dict[str, Any]:
    if isinstance(message, up.EjectResult) or not message.locks:
        return {}
    return {"extra": message.locks.hex().upper()} | dict(zip(_LOCK_NAMES, message.locks, strict=False))


def _bank(bank: Bank) -> dict[str, Any]:
    status = bank.status
    return {
        "slot": bank.slot,
        "id": bank.bank,
        "level": bank.level,
        "level_raw": bank.level_raw,
        "mv": bank.mv,
        "ma": bank.ma,
        "temp_c": bank.temp_c,
        "status_raw": bank.status_raw,
        "status": {
            "inserted": status.inserted,
            "locked": status.locked,
            "bank_error": status.bank_error,
            "charging_switch": status.charging_switch,
            "charging": status.charging,
            "type_c_error": status.type_c_error,
            "lightning_error": status.lightning_error,
            "micro_usb_error": status.micro_usb_error,
        },
        "soh": bank.soh,
    }


#: Names of fields that differ from the struct's own.
_NAMES: Final = {
    (up.Version, "text"): "version",
    (up.Iccid, "text"): "iccid",
    (up.Volume, "level"): "volume",
    (down.SetVolume, "level"): "volume",
}
_RENAMED: Final = {"bank": "id"}
#: Said by the header already.
_HIDDEN: Final = frozenset({"command"})


def _plain(message: Message) -> dict[str, Any]:
    """A message whose fields are shown as they are; what was not sent is left out."""
    shown = {}
    for name, value in structs.asdict(message).items():
        if name in _HIDDEN or (value is None and isinstance(message, up.VolumeSet)):
            continue
        shown[_NAMES.get((type(message), name), _RENAMED.get(name, name))] = value
    return shown
