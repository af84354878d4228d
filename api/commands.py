"""Orders to cabinets as people write them, in the words of the device protocol."""

from typing import Any

import msgspec

from firmware_protocol.commands import Command
from fleet.common.errors import InvalidInput


def command_from(type_: str, args: dict[str, Any], allowed: tuple[type[Command], ...]) -> Command:
    """Raises InvalidInput that names the member which is wrong, or a command that cannot be ordered here."""
    try:
        command = msgspec.convert({**args, "type": type_}, Command)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error), field="body.args" if "`$.type`" not in str(error) else "body.type") from error
    if not isinstance(command, allowed):
        raise InvalidInput(f"{type_} cannot be ordered here", field="body.type")
    return command
