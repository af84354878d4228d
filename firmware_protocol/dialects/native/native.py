"""The Voltbay Device Protocol, version 1 (docs/protocol.md)."""

from typing import Any, Final

from msgspec import structs

from firmware_protocol import topics
from firmware_protocol.channels import COMMANDS, DOWN_KIND, DOWN_QOS, UP_QOS, is_retained, type_name, up_kind
from firmware_protocol.commands import CommandFrame, Control
from firmware_protocol.dialect import Capabilities, Published
from firmware_protocol.dialects.native.codec import Reader, read_tree, write
from firmware_protocol.dialects.native.envelope import COMMAND_TYPES, CONTROL_TYPES, UP_TYPES, fields_of, opening
from firmware_protocol.encoding import Encoding
from firmware_protocol.errors import InvalidField, WrongChannel
from firmware_protocol.limits import MAX_COMMAND_ID_CHARS
from firmware_protocol.messages import UpFrame
from firmware_protocol.topics import DownKind

_UP: Final = Reader(UP_TYPES)
_COMMAND: Final = Reader(COMMAND_TYPES)
_CONTROL: Final = Reader(CONTROL_TYPES)


class NativeDialect:
    """VDP v1 in JSON and CBOR. Pure and thread-safe; the `decode…` methods raise only ProtocolError."""

    name = "native"
    capabilities = Capabilities(
        sequence_numbers=True,
        shows_slots=True,
        command_ids=True,
        honours_deadline=True,
        journal=True,
        command_qos=1,
        commands=frozenset(type_name(command) for command in COMMANDS),
    )

    def decode(self, topic: str, payload: bytes, content_type: str | None = None) -> UpFrame:
        """Bytes that came on `topic` to a message. `content_type` None: the first byte tells JSON from CBOR."""
        station, kind = topics.parse_up(topic)
        wire = _UP.read(payload, content_type)
        if wire.kind is not kind:
            name = type_name(type(wire.data))
            raise WrongChannel(f"type: {name} belongs on {topics.up(station, wire.kind)}, came on …/up/{kind}")
        if (wire.seq == 0) is not wire.in_session:
            name = type_name(type(wire.data))
            raise InvalidField(f"seq: expected {'0' if wire.in_session else '1 or more'} for {name}, got {wire.seq}")
        return UpFrame(
            station=station,
            boot=wire.boot,
            seq=wire.seq,
            at_ms=wire.at,
            message=wire.data,
            replayed=wire.replayed,
        )

    def encode_up(self, frame: UpFrame, encoding: Encoding = Encoding.JSON) -> bytes:
        """What a cabinet sends. Values are not checked: a simulated cabinet may be wrong on purpose."""
        tree: dict[str, Any] = {
            **opening(),
            "boot": frame.boot,
            "seq": frame.seq,
            "at": frame.at_ms,
            "type": type_name(type(frame.message)),
            "data": fields_of(frame.message),
        }
        if frame.replayed:
            tree["replayed"] = True
        return write(tree, encoding)

    def publish_up(self, frame: UpFrame, encoding: Encoding = Encoding.JSON) -> Published:
        """`encode_up` with the topic, quality of service and retain flag that belong to the message."""
        kind = up_kind(frame.message)
        return Published(
            topic=topics.up(frame.station, kind),
            payload=self.encode_up(frame, encoding),
            qos=UP_QOS[kind],
            retain=is_retained(kind),
            content_type=encoding.content_type,
        )

    def encode_command(self, station: str, frame: CommandFrame, encoding: Encoding = Encoding.JSON) -> Published:
        """One command for the broker; InvalidField for one that every cabinet would refuse."""
        tree = {
            **opening(),
            "id": frame.command_id,
            "deadline": frame.deadline_ms,
            "attempt": frame.attempt,
            "type": type_name(type(frame.command)),
            "data": fields_of(frame.command),
        }
        payload = write(tree, encoding)
        self.decode_command(payload, encoding.content_type)
        return _down(station, DownKind.COMMAND, payload, encoding)

    def encode_control(self, station: str, control: Control, encoding: Encoding = Encoding.JSON) -> Published:
        """One welcome, ack or resend for the broker."""
        tree = {**opening(), "type": type_name(type(control)), "data": fields_of(control)}
        return _down(station, DOWN_KIND[type(control)], write(tree, encoding), encoding)

    def decode_command(self, payload: bytes, content_type: str | None = None) -> CommandFrame:
        """What a cabinet reads on `…/down/command`."""
        wire = _COMMAND.read(payload, content_type)
        return CommandFrame(command_id=wire.id, deadline_ms=wire.deadline, attempt=wire.attempt, command=wire.data)

    def command_id(self, payload: bytes, content_type: str | None = None) -> str | None:
        """Whose answer is `unsupported` (8.7): the id of a command that could not be decoded, when it has one."""
        tree = read_tree(payload, content_type)
        found = tree.get("id") if isinstance(tree, dict) else None
        return found if isinstance(found, str) and 0 < len(found) <= MAX_COMMAND_ID_CHARS else None

    def decode_control(self, payload: bytes, content_type: str | None = None) -> Control:
        """What a cabinet reads on `…/down/welcome`, `…/down/ack` and `…/down/resend`."""
        control: Control = _CONTROL.read(payload, content_type).data
        return control

    def decode_down(self, topic: str, payload: bytes, content_type: str | None = None) -> CommandFrame | Control:
        """What a cabinet reads on any of its `…/down/…` topics; WrongChannel when topic and type disagree."""
        station, kind = topics.parse_down(topic)
        if kind is DownKind.COMMAND:
            return self.decode_command(payload, content_type)
        control = self.decode_control(payload, content_type)
        own = DOWN_KIND[type(control)]
        if own is not kind:
            raise WrongChannel(f"type: {own} belongs on {topics.down(station, own)}, came on …/down/{kind}")
        return control

    def decode_any(self, payload: bytes, topic: str | None = None) -> UpFrame | CommandFrame | Control:
        """A frame of either direction. Without its topic it is told by its shape; the station is then empty."""
        if topic is not None:
            return self.decode_down(topic, payload) if "/down/" in topic else self.decode(topic, payload)
        tree = read_tree(payload)
        shape = tree if isinstance(tree, dict) else {}
        name = shape.get("type")
        known = name if isinstance(name, str) else ""
        if known in COMMAND_TYPES or (known not in UP_TYPES and "deadline" in shape):
            return self.decode_command(payload)
        if known in CONTROL_TYPES:
            return self.decode_control(payload)
        kind = _UP.read(payload, None).kind
        return structs.replace(self.decode(topics.up("-", kind), payload), station="")


def _down(station: str, kind: DownKind, payload: bytes, encoding: Encoding) -> Published:
    return Published(
        topic=topics.down(station, kind),
        payload=payload,
        qos=DOWN_QOS[kind],
        content_type=encoding.content_type,
    )


NATIVE: Final = NativeDialect()
