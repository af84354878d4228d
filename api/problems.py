"""RFC 9457 problem details: how every error looks."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
#: In a request's state: whether its answer has begun, and further headers of whatever the answer will be.
ANSWERING: Final = "answering"
HEADERS: Final = "headers"


class FieldProblem(BaseModel):
    field: Annotated[str, Field(description="where it is, as `body.slot`, `query.limit` or `header.Idempotency-Key`")]
    message: str
    kind: str


class Problem(BaseModel):
    """An error. `code` is stable and for programs, `detail` is for people; more members may name what it was about."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:voltbay:problem:not_found",
                    "title": "Not Found",
                    "status": 404,
                    "code": "not_found",
                    "detail": "there is no such rental",
                    "request_id": "0197a2c4-5f1e-7c3a-9a64-0b8f7d3c2e10",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None
    errors: list[FieldProblem] | None = None
    request_id: str | None = None


def request_id_of(connection: HTTPConnection) -> str | None:
    """The id of this request, as sent back in X-Request-Id."""
    state: Mapping[str, Any] = connection.scope.get("state", {})
    return state.get("request_id")


def details(status: int, code: str, detail: str, *, members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The members of a problem, ready for JSON."""
    title = HTTPStatus(status).phrase
    body = {"type": f"urn:voltbay:problem:{code}", "title": title, "status": status, "code": code, "detail": detail}
    body |= {name: value for name, value in (members or {}).items() if value is not None and name not in body}
    encoded: dict[str, Any] = jsonable_encoder(body)
    return encoded


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """`members` say what it was about; they never replace the standard ones."""
    body = details(status, code, detail, members=members)
    if request_id is not None:
        body["request_id"] = request_id
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


_DESCRIPTIONS = {
    400: "The request makes no sense as it is.",
    401: "No access token, or not a valid one.",
    402: "The money is not there.",
    403: "This account may not do that.",
    404: "There is no such thing, or it is not yours.",
    409: "It is not in a state that allows this.",
    413: "The body is too large.",
    415: "The body is of a kind that is not taken here.",
    416: "The range begins behind the end of the file.",
    422: "A value is missing or wrong, or the Idempotency-Key was used for another request.",
    429: "Too many requests: come back after `Retry-After` seconds.",
    503: "A part of the system is away; the same request may be sent again.",
}

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """What an operation may answer besides its success, for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": content}
        for status in sorted({*statuses, 422, 429, 503})
    }
