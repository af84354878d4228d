"""docs/asyncapi.json is what the types say now, and is well-formed AsyncAPI 3.0."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware_protocol import asyncapi
from firmware_protocol.channels import COMMANDS, CONTROLS, UP_MESSAGES, type_name

CHECKED_IN = Path(__file__).parents[2] / "docs" / "asyncapi.json"


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(CHECKED_IN.read_text(encoding="utf-8"))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: Any, reference: str) -> Any:
    assert reference.startswith("#/")
    node = document
    for step in reference[2:].split("/"):
        node = node[step]
    return node


def test_checked_in_document_is_current() -> None:
    assert CHECKED_IN.read_text(encoding="utf-8") == asyncapi.render(), "run: python -m firmware_protocol.asyncapi"


def test_root_has_what_the_specification_asks_for(document: Any) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    allowed = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
    assert document.keys() <= allowed
    for server in document["servers"].values():
        assert {"host", "protocol"} <= server.keys()


def test_every_reference_leads_somewhere(document: Any) -> None:
    found = list(references(document))
    assert len(found) > 150
    for reference in found:
        assert resolve(document, reference) is not None


def test_channels_declare_the_parameters_of_their_address(document: Any) -> None:
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {
        *(f"vb/v1/{{station}}/up/{kind}" for kind in ("boot", "event", "telemetry", "state")),
        *(f"vb/v1/{{station}}/down/{kind}" for kind in ("welcome", "ack", "resend", "command")),
    }
    for channel in document["channels"].values():
        assert channel["parameters"].keys() == {"station"}
        assert channel["messages"]


def test_operations_use_messages_of_their_own_channel(document: Any) -> None:
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = operation["channel"]["$ref"]
        assert [ref["$ref"].rpartition("/messages/")[0] for ref in operation["messages"]] == [channel] * len(
            operation["messages"]
        )
        upward = "/up/" in resolve(document, channel)["address"]
        assert upward is (operation["action"] == "receive")


def test_every_message_is_described_with_an_example(document: Any) -> None:
    messages = document["components"]["messages"]
    assert messages.keys() == {type_name(cls) for cls in (*UP_MESSAGES, *COMMANDS, *CONTROLS)}
    for name, message in messages.items():
        schema = resolve(document, message["payload"]["$ref"])
        example = message["examples"][0]["payload"]
        assert example["type"] == name
        assert set(schema["required"]) <= example.keys() <= schema["properties"].keys()
        data = resolve(document, schema["properties"]["data"]["$ref"])
        assert set(data.get("required", ())) <= example["data"].keys() <= data["properties"].keys()
        assert "type" not in data["properties"]
    on_channels = [name for channel in document["channels"].values() for name in channel["messages"]]
    assert sorted(on_channels) == sorted(messages)
