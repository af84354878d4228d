"""Whole Relink frames: packets to messages and back, once the generation of the connection is known."""

from typing import Final

from firmware_protocol.dialects.relink import down, down_codec, up, up_codec
from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.limits import MAGIC_1, MAGIC_2, VERSION_1, VERSION_2
from firmware_protocol.dialects.relink.packet import Packet, close_packet
from firmware_protocol.errors import MalformedFrame, UnsupportedVersion, quote

_LOGINS: Final = {(VERSION_1, MAGIC_1): Generation.ONE, (VERSION_2, MAGIC_2): Generation.TWO}
#: Replies of the second generation that carry the cabinet's own version; commands carry 1, as captured.
_ECHOES: Final = frozenset({Command.LOGIN, Command.HEARTBEAT, Command.RETURN})


def generation_of(packet: Packet) -> Generation:
    """Of the connection, from its first frame: a login whose version and magic agree.

    MalformedFrame for another frame, UnsupportedVersion when the two disagree.
    """
    if packet.command != Command.LOGIN:
        raise MalformedFrame(f"expected a login (0x60) first, got 0x{packet.command:02X}: {quote(packet.payload)}")
    magic = int.from_bytes(packet.payload[4:6], "big")
    generation = _LOGINS.get((packet.version, magic))
    if generation is None:
        raise UnsupportedVersion(
            f"login: expected version 1 with magic 0x{MAGIC_1:04X} or 2 with 0x{MAGIC_2:04X}, "
            f"got {packet.version} with 0x{magic:04X}"
        )
    return generation


def decode_up(packet: Packet, generation: Generation) -> up.UpMessage:
    """What a cabinet says. Raises only ProtocolError."""
    return up_codec.decode(packet.command, packet.payload, generation)


def decode_down(packet: Packet, generation: Generation) -> down.DownMessage:
    """What a cabinet reads. Raises only ProtocolError."""
    return down_codec.decode(packet.command, packet.payload, generation)


def encode_up(message: up.UpMessage, generation: Generation, secret: bytes | None = None) -> bytes:
    """A cabinet's frame; `secret` for the token of the second generation."""
    command, payload = up_codec.encode(message, generation)
    return close_packet(command, int(generation), payload, secret)


def encode_down(
    message: down.DownMessage, generation: Generation, secret: bytes | None = None, *, version: int | None = None
) -> bytes:
    """The backend's frame. `version` None: as captured, 2 in replies of the second generation and 1 otherwise.

    InvalidField for what the generation cannot be told.
    """
    command, payload = down_codec.encode(message, generation)
    if version is None:
        version = VERSION_2 if generation is Generation.TWO and command in _ECHOES else VERSION_1
    return close_packet(command, version, payload, secret)
