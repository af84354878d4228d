"""JSON as RFC 8259 has it, and text as PostgreSQL has it: everything else is refused like any other wrong value."""

import json
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any, Final, NoReturn

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.types import Scope

from fleet.common.texts import NO_TEXT, unkeepable

#: How JSON writes what could not be kept; most bodies have none.
_ESCAPE: Final = b"\\u"


def check_address(scope: Scope) -> None:
    """Raises RequestValidationError for U+0000 in the path or the query. Halves of surrogate pairs cannot be there."""
    for where, found in (("path", "\0" in scope["path"]), ("query", b"%00" in scope["query_string"])):
        if found:
            raise RequestValidationError([{"type": "no_text", "loc": (where,), "msg": NO_TEXT, "input": None}])


class JsonRequest(Request):
    """Whatever is wrong with its JSON is a JSONDecodeError, of which FastAPI makes a validation error; of others it
    makes a 400 that no document has.
    """

    async def json(self) -> Any:
        body = await self.body()
        try:
            found = _DECODER.decode(body.decode("utf-8-sig"))
            if _ESCAPE in body:
                _must_be_text(found)
        except JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:  # no UTF-8, a number of thousands of digits, too deep
            raise JSONDecodeError(str(error), "", 0) from error
        return found


def _must_be_text(value: Any) -> None:
    if any(map(unkeepable, _strings(value))):
        raise ValueError(NO_TEXT)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_number)
