"""Every operation of the document with values that are wrong, or nearly: no 500, and every answer is one it names."""

import json
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from tests.api.conftest import Live
from tests.api.people import operator, signed_in
from tests.api.test_admin import keyed
from tests.api.test_openapi import operations
from tests.api.world import add_station, add_tariff, give_money

#: They go on for minutes, or end what the others go on with.
_LEFT_OUT: Final = {"rental_events", "station_events", "sign_out"}
_CODE: Final = "ZRH-0001"
#: What is taken for granted by nobody; lists, text and numbers where something else is meant.
_WRONG: Final[tuple[Any, ...]] = (None, "", "\0", "x\ud800", "x" * 5000, -1, 10**30, [], {"\0": "\0"})

Document = dict[str, Any]


@pytest.fixture
def paths(live: Live) -> Iterator[tuple[httpx.Client, dict[str, Any]]]:
    """An operator's client, and what there is by name of a parameter."""
    add_tariff(live)
    add_station(live, _CODE, charges=(90, 80))
    with operator(live) as boss, signed_in(live) as rider:
        give_money(live, rider)
        known = {"code": _CODE, "serial": f"{_CODE}-B2", "user_id": str(rider.user.id), "number": 1, "slot": 1}
        yield boss.http, known


def test_wrong_values_have_answers_that_the_document_names(
    live: Live, paths: tuple[httpx.Client, dict[str, Any]]
) -> None:
    client, known = paths
    document = live.client.get("/api/openapi.json").json()
    asked, odd = 0, []
    for name, operation in operations(document):
        if "/api/v1/" not in name or operation["operationId"] in _LEFT_OUT:
            continue
        method, path = name.split(" ")
        for where, query, body in _requests(document, operation, path, known):
            answer = _ask(client, method, where, query, body)
            asked += 1
            if answer.status_code >= 500 or str(answer.status_code) not in operation["responses"]:
                odd.append((operation["operationId"], where, query, str(body)[:200], answer.status_code, answer.text))
    assert odd == []
    assert asked > 3000


def _ask(client: httpx.Client, method: str, path: str, query: dict[str, str], body: Any) -> httpx.Response:
    # Half a surrogate pair cannot be sent but as an escape.
    content = None if body is None else json.dumps(body).encode()
    headers = keyed() | {"Content-Type": "application/json"}
    return client.request(method, path, params=query, content=content, headers=headers)


def _requests(
    document: Document, operation: Document, path: str, known: dict[str, Any]
) -> Iterator[tuple[str, dict[str, str], Any]]:
    where = path.format(**{name: known.get(name, _value(document, each)) for name, each in _path(operation)})
    body = _example(document, operation)
    yield where, {}, body
    for each in operation.get("parameters", ()):
        if each["in"] == "query":
            yield from ((where, {each["name"]: str(wrong)[:500]}, body) for wrong in ("\0", "x" * 500, -1, 10**30))
    if isinstance(body, dict):
        for field in _fields(document, operation) | body.keys():
            yield from ((where, {}, body | {field: wrong}) for wrong in _WRONG)


def _path(operation: Document) -> Iterator[tuple[str, Document]]:
    return ((each["name"], each["schema"]) for each in operation.get("parameters", ()) if each["in"] == "path")


def _resolved(document: Document, schema: Document) -> Document:
    if "$ref" not in schema:
        return schema
    found: Document = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return found


def _value(document: Document, schema: Document) -> object:
    schema = _resolved(document, schema)
    if "enum" in schema:
        return schema["enum"][0]
    return {"integer": 1}.get(schema["type"]) or (str(uuid4()) if schema.get("format") == "uuid" else "CH")


def _json(operation: Document) -> Document | None:
    found: Document | None = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return found


def _example(document: Document, operation: Document) -> Any:
    content = _json(operation)
    if content is None:
        return None
    if "example" in content:
        return content["example"]
    schema = _resolved(document, content["schema"])
    if "examples" in schema:
        return schema["examples"][0]
    return {name: field["examples"][0] for name, field in schema["properties"].items()}


def _fields(document: Document, operation: Document) -> set[str]:
    content = _json(operation)
    return set() if content is None else set(_resolved(document, content["schema"]).get("properties", ()))
