"""Payloads by generation and command: the same for both directions."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.fields import Reader
from firmware_protocol.errors import InvalidField, ProtocolError, UnknownMessageType, quote

M = TypeVar("M")
Table = Mapping[Generation, Mapping[int, Callable[[Reader, Command], M]]]


def read(table: Table[M], whose: str, command: int, payload: bytes, generation: Generation) -> M:
    """The message of a payload, which must be used up. UnknownMessageType for what this generation has not."""
    decoder = table[generation].get(command)
    if decoder is None:
        raise UnknownMessageType(
            f"expected a command of generation {generation}, got 0x{command:02X} with payload {quote(payload)}"
        )
    reader = Reader(f"0x{command:02X} {whose}", payload)
    message = decoder(reader, Command(command))
    reader.end()
    return message


def written(
    table: Table[M], message: M, encoded: tuple[Command, bytes], generation: Generation
) -> tuple[Command, bytes]:
    """`encoded`, if the other side reads it as `message`; InvalidField otherwise: this generation cannot say it."""
    try:
        sayable = read(table, "", *encoded, generation) == message
    except InvalidField:
        raise
    except ProtocolError:
        sayable = False
    if not sayable:
        raise InvalidField(f"{type(message).__name__}: generation {generation} has no such message")
    return encoded
