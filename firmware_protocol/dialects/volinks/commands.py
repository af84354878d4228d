"""What a Volinks cabinet is told: JSON objects with a `cmd`, every value a string (volinks.md §9).

Each command is a frozen struct; `encode_down` and `decode_down` are its two directions. There is no id in any of them.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from firmware_protocol.dialects.volinks.limits import (
    MAX_COMMAND_BYTES,
    MAX_POPUP_HOLE,
    MAX_TEXT_CHARS,
    NO_SERIAL,
)
from firmware_protocol.errors import FrameTooLarge, InvalidField, MalformedFrame, UnknownMessageType, quote

T = TypeVar("T")
Wire = dict[str, str]


class Word(StrEnum):
    """Commands without arguments."""

    #: The five fullest banks (old guide), the cabinet (new guide), or occupied holes only: count before believing.
    CHECK = "check"
    CHECK_ALL = "check_all"
    UPLOAD_ALL = "upload_all"
    LOAD_AD = "load_ad"
    #: The cabinet leaves the network and upgrades itself, without an answer.
    UPGRADE = "push_version_publish"
    UPGRADE_TEST = "push_version_test"
    UPGRADE_ANDROID = "push_version_apk"
    UPGRADE_HOLES = "push_version_holesite"
    REBOOT = "reboot"
    RESET_MCU = "reset_mcu"
    GET_WIFI = "getWifi"
    CHECK_LOG = "check_log"
    GET_VERSION = "get_version"
    UPLOAD_APP_LOG = "upload_app_log"
    RESTART_APP = "apk_restart"
    UPLOAD_SCREENSHOT = "upload_screen_capture"
    OPEN_ROAMING = "open_roam"
    CLOSE_ROAMING = "close_roam"
    OPEN_LOG_RECORDING = "open_log_recording"
    CLOSE_LOG_RECORDING = "close_log_recording"
    OPEN_WIFI = "open_wifi"
    CLOSE_WIFI = "close_wifi"


class TextKey(StrEnum):
    """Commands whose `data` is a text."""

    #: Identifier of the card terminal's place.
    LOCATION = "location"
    #: URL for a card terminal.
    ORDER_POS = "order_pos"
    #: URL of a JSON object that maps five events to mp3 URLs.
    SET_AUDIO = "setAudio"
    SET_APN = "set_apn"


class Plain(Struct, frozen=True):
    word: Word


class PopByHole(Struct, frozen=True, kw_only=True):
    """Ejects whatever is in `hole`, and again when it arrives twice.

    `timestamp` (s since 1970) and `ttl` (s) are the documented form; firmware that was tested ignores them.
    """

    hole: int
    io: int = 0
    timestamp: int | None = None
    ttl: int | None = None


class PopBySerial(Struct, frozen=True, kw_only=True):
    """Ejects this bank; a repeat finds it gone (FC). The safer of the two."""

    sn: int
    timestamp: int | None = None
    ttl: int | None = None


class TextCommand(Struct, frozen=True, kw_only=True):
    key: TextKey
    data: str


class SetWifi(Struct, frozen=True, kw_only=True):
    """`screen`: cabinets with a screen take another spelling. The password may be empty."""

    ssid: str
    password: str
    screen: bool = False


class SetMode(Struct, frozen=True):
    """A cabinet in the wrong mode is lost until somebody goes there."""

    mode: Literal["wifi", "4g"]


class SetVolume(Struct, frozen=True):
    """0 to 100."""

    level: int


class BufferUpload(Struct, frozen=True):
    on: bool


DownCommand = Plain | PopByHole | PopBySerial | TextCommand | SetWifi | SetMode | SetVolume | BufferUpload


def encode_down(command: DownCommand, *, most_holes: int = MAX_POPUP_HOLE) -> bytes:
    """The payload for `…/user/get`. InvalidField for what no cabinet takes; `most_holes` for cabinets proven larger."""
    wire = to_wire(command)
    payload = msgspec.json.encode(wire)
    if len(payload) > MAX_COMMAND_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_COMMAND_BYTES} bytes, got {len(payload)}")
    from_wire(wire, most_holes=most_holes)
    return payload


def decode_down(payload: bytes, *, most_holes: int = MAX_POPUP_HOLE) -> DownCommand:
    """What a cabinet reads on `…/user/get`. Raises only ProtocolError."""
    if len(payload) > MAX_COMMAND_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_COMMAND_BYTES} bytes, got {quote(payload)}")
    try:
        wire = msgspec.json.decode(payload, type=Wire)
    except msgspec.ValidationError as error:
        raise InvalidField(f"expected an object whose values are all strings: {error}, in {quote(payload)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedFrame(f"expected a JSON object: {error}, in {quote(payload)}") from None
    return from_wire(wire, most_holes=most_holes)


def to_wire(command: DownCommand) -> Wire:  # noqa: PLR0911  # a flat table of commands
    """The JSON object of a command, every value a string, keys in the order of the vendor's examples."""
    match command:
        case Plain():
            return {"cmd": str(command.word)}
        case PopByHole():
            head = {"cmd": "popup", "data": str(command.hole), "io": str(command.io)}
            return head | _stamp(command.timestamp, command.ttl)
        case PopBySerial():
            return {"cmd": "popup_sn", "data": str(command.sn)} | _stamp(command.timestamp, command.ttl)
        case TextCommand():
            return {"cmd": str(command.key), "data": command.data}
        case SetWifi():
            name, key = ("set_wifi", "name") if command.screen else ("setWifi", "username")
            return {"cmd": name, key: command.ssid, "password": command.password}
        case SetMode():
            return {"cmd": "setMode", "data": command.mode}
        case SetVolume():
            return {"cmd": "volume", "data": str(command.level)}
        case BufferUpload():
            return {"cmd": "buffer_upload", "data": "true" if command.on else "false"}


def from_wire(wire: Mapping[str, str], *, most_holes: int = MAX_POPUP_HOLE) -> DownCommand:
    """The command of a JSON object. InvalidField names the key; UnknownMessageType for a `cmd` nobody has named."""
    fields = _Fields(wire)
    name = fields.text("cmd")
    if name in _WORDS:
        command: DownCommand = Plain(Word(name))
    elif name in _TEXTS:
        command = TextCommand(key=TextKey(name), data=fields.text("data"))
    elif name == "popup":
        command = _pop_by_hole(fields, most_holes)
    elif name in _READERS:
        command = _READERS[name](fields)
    else:
        raise UnknownMessageType(f"cmd: expected a known command, got {name[:40]!r}")
    fields.end()
    return command


class _Fields:
    """Reads the keys of one object and knows which were not read."""

    def __init__(self, wire: Mapping[str, str]) -> None:
        self._left = dict(wire)
        for key, value in wire.items():
            if len(key) > MAX_TEXT_CHARS or len(value) > MAX_TEXT_CHARS:
                raise InvalidField(f"{key[:40]!r}: expected at most {MAX_TEXT_CHARS} characters")

    def text(self, key: str) -> str:
        try:
            return self._left.pop(key)
        except KeyError:
            raise InvalidField(f"{key}: expected a string, got nothing") from None

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        if default is not None and key not in self._left:
            return default
        text = self.text(key)
        if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and low <= int(text) <= high):
            raise InvalidField(f"{key}: expected a number from {low} to {high} as a string, got {text[:40]!r}")
        return int(text)

    def optional(self, key: str, high: int) -> int | None:
        return self.number(key, 0, high) if key in self._left else None

    def choice(self, key: str, choices: Mapping[str, T]) -> T:
        text = self.text(key)
        if text not in choices:
            raise InvalidField(f"{key}: expected {' or '.join(choices)}, got {text[:40]!r}")
        return choices[text]

    def end(self) -> None:
        if self._left:
            raise InvalidField(f"{next(iter(self._left))[:40]!r}: a key that this command does not have")


#: Digits of the largest number in a command: ms since 1970 would have 13.
_MAX_DIGITS: Final = 13
_MAX_SECONDS: Final = 10**_MAX_DIGITS - 1
_WORDS: Final = frozenset(Word)
_TEXTS: Final = frozenset(TextKey)
_MODES: Final[Mapping[str, Literal["wifi", "4g"]]] = MappingProxyType({"wifi": "wifi", "4g": "4g"})
_SWITCH: Final = MappingProxyType({"true": True, "false": False})


def _stamp(timestamp: int | None, ttl: int | None) -> Wire:
    given = {"timestamp": timestamp, "ttl": ttl}
    return {key: str(value) for key, value in given.items() if value is not None}


def _pop_by_hole(fields: _Fields, most_holes: int) -> PopByHole:
    return PopByHole(
        hole=fields.number("data", 1, most_holes),
        io=fields.number("io", 0, 1, default=0),
        timestamp=fields.optional("timestamp", _MAX_SECONDS),
        ttl=fields.optional("ttl", _MAX_SECONDS),
    )


def _pop_by_serial(fields: _Fields) -> PopBySerial:
    return PopBySerial(
        sn=fields.number("data", 1, NO_SERIAL - 1),
        timestamp=fields.optional("timestamp", _MAX_SECONDS),
        ttl=fields.optional("ttl", _MAX_SECONDS),
    )


_READERS: Final[Mapping[str, Callable[[_Fields], DownCommand]]] = MappingProxyType(
    {
        "popup_sn": _pop_by_serial,
        "setWifi": lambda fields: SetWifi(ssid=fields.text("username"), password=fields.text("password")),
        "set_wifi": lambda fields: SetWifi(ssid=fields.text("name"), password=fields.text("password"), screen=True),
        "setMode": lambda fields: SetMode(fields.choice("data", _MODES)),
        "volume": lambda fields: SetVolume(fields.number("data", 0, 100)),
        "buffer_upload": lambda fields: BufferUpload(fields.choice("data", _SWITCH)),
    }
)
