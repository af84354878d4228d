"""The AsyncAPI 3.0 document of VDP v1, written from the types: `python -m firmware_protocol.asyncapi [FILE]`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from firmware_protocol import examples, topics
from firmware_protocol.channels import (
    COMMANDS,
    CONTROLS,
    DOWN_KIND,
    DOWN_QOS,
    UP_KIND,
    UP_QOS,
    is_retained,
    type_name,
)
from firmware_protocol.dialects.native import NATIVE, Encoding
from firmware_protocol.dialects.native.envelope import COMMAND_TYPES, CONTROL_TYPES, UP_TYPES
from firmware_protocol.limits import MAX_STATION_CODE_CHARS
from firmware_protocol.topics import DownKind, UpKind

Json = dict[str, Any]
_ENVELOPES: Final[Mapping[str, type[msgspec.Struct]]] = {**UP_TYPES, **COMMAND_TYPES, **CONTROL_TYPES}
_SCHEMAS: Final = "#/components/schemas/{name}"

_INFO: Final = {
    "title": "Voltbay Device Protocol",
    "version": "1.0.0",
    "description": "What power-bank cabinets and the Voltbay backend say to each other over MQTT 5 or 3.1.1. "
    "docs/protocol.md is the specification; this document is generated from the same types. Payloads are JSON as "
    "described here, or CBOR maps with the same keys in which bytes are byte strings instead of base64.",
    "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
}
_SERVERS: Final = {
    "production": {
        "host": "broker.example.org:8883",
        "protocol": "mqtts",
        "protocolVersion": "5",
        "description": "TLS. The station's code is the user name, or the common name of its client certificate.",
        "security": [{"$ref": "#/components/securitySchemes/password"}, {"$ref": "#/components/securitySchemes/tls"}],
    },
    "development": {
        "host": "127.0.0.1:1883",
        "protocol": "mqtt",
        "protocolVersion": "5",
        "description": "The embedded broker: the station's code as user name, no password.",
    },
}
_SECURITY: Final = {
    "password": {"type": "userPassword", "description": "The station's code and its secret."},
    "tls": {"type": "X509", "description": "A client certificate whose common name is the station's code."},
}


def _channel_id(direction: str, kind: UpKind | DownKind) -> str:
    return f"{direction}{kind.capitalize()}"


def _names_on(kind: UpKind | DownKind) -> list[str]:
    """Types of the messages on one topic, in the order of their definition."""
    if isinstance(kind, UpKind):
        return [type_name(cls) for cls, own in UP_KIND.items() if own is kind]
    if kind is DownKind.COMMAND:
        return [type_name(cls) for cls in COMMANDS]
    return [type_name(cls) for cls in CONTROLS if DOWN_KIND[cls] is kind]


def _channel(address: str, kind: UpKind | DownKind) -> Json:
    return {
        "address": address,
        "parameters": {"station": {"$ref": "#/components/parameters/station"}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names_on(kind)},
    }


def _operation(action: str, channel: str, kind: UpKind | DownKind, qos: int, *, retain: bool) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in _names_on(kind)],
        "bindings": {"mqtt": {"qos": qos, "retain": retain, "bindingVersion": "0.2.0"}},
    }


def _channels_and_operations() -> tuple[Json, Json]:
    channels: Json = {}
    operations: Json = {}
    for up in UpKind:
        name = _channel_id("up", up)
        channels[name] = _channel(topics.up("{station}", up), up)
        operations[f"receive{up.capitalize()}"] = _operation("receive", name, up, UP_QOS[up], retain=is_retained(up))
    for down in DownKind:
        name = _channel_id("down", down)
        channels[name] = _channel(topics.down("{station}", down), down)
        operations[f"send{down.capitalize()}"] = _operation("send", name, down, DOWN_QOS[down], retain=False)
    return channels, operations


def _example_payloads() -> dict[str, Any]:
    found: dict[str, bytes] = {}
    for frame in examples.UP:
        found[type_name(type(frame.message))] = NATIVE.encode_up(frame, Encoding.JSON)
    for command in examples.COMMANDS:
        found[type_name(type(command.command))] = NATIVE.encode_command(examples.STATION, command).payload
    for control in examples.CONTROLS:
        found[type_name(type(control))] = NATIVE.encode_control(examples.STATION, control).payload
    return {name: json.loads(payload) for name, payload in found.items()}


def _schema_refs() -> tuple[dict[str, Json], Json]:
    """A reference to each envelope's schema by message type, and all schemas by name."""
    refs, schemas = msgspec.json.schema_components(_ENVELOPES.values(), ref_template=_SCHEMAS)
    envelopes = {ref["$ref"].rpartition("/")[2] for ref in refs}
    for name, schema in schemas.items():
        # The type stands in the envelope; msgspec writes it into the tagged struct inside too.
        if name not in envelopes and "type" in schema.get("properties", {}):
            del schema["properties"]["type"]
            schema["required"] = [field for field in schema["required"] if field != "type"]
    return dict(zip(_ENVELOPES, refs, strict=True)), schemas


def _messages(refs: Mapping[str, Json]) -> Json:
    payloads = _example_payloads()
    documented = {type_name(cls): cls for cls in (*UP_KIND, *COMMANDS, *CONTROLS)}
    return {
        name: {
            "name": name,
            "summary": (documented[name].__doc__ or "").splitlines()[0],
            "contentType": Encoding.JSON.content_type,
            "payload": refs[name],
            "examples": [{"name": name, "payload": payloads[name]}],
        }
        for name in _ENVELOPES
    }


def document() -> Json:
    """The whole document as plain values."""
    channels, operations = _channels_and_operations()
    refs, schemas = _schema_refs()
    station = f"The station's code: 1 to {MAX_STATION_CODE_CHARS} of A-Z a-z 0-9 . _ -"
    return {
        "asyncapi": "3.0.0",
        "id": "urn:voltbay:device-protocol:v1",
        "info": _INFO,
        "defaultContentType": Encoding.JSON.content_type,
        "servers": _SERVERS,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": _messages(refs),
            "schemas": schemas,
            "parameters": {"station": {"description": station, "examples": [examples.STATION]}},
            "securitySchemes": _SECURITY,
        },
    }


def render() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    Path(arguments[0] if arguments else "docs/asyncapi.json").write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
