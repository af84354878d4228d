"""ETag and If-None-Match for what phones poll (RFC 9110, 13.1.2)."""

import hashlib

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.problems import Responses

#: For the document of every operation that answers with `tagged`.
NOT_MODIFIED: Responses = {304: {"description": "The caller has it already (If-None-Match)."}}


def tagged(
    request: Request, model: BaseModel, *, max_age_s: int = 0, ignoring: frozenset[str] = frozenset()
) -> Response:
    """The model as JSON with its entity tag, or 304 when the caller already has it.

    `ignoring`: members (ages, times) whose change alone makes no new version; the tag is then a weak one.
    """
    body = model.model_dump_json().encode()
    compared = model.model_dump_json(exclude=set(ignoring)).encode() if ignoring else body
    opaque = f'"{hashlib.blake2b(compared, digest_size=12).hexdigest()}"'
    headers = {
        "ETag": f"W/{opaque}" if ignoring else opaque,
        "Cache-Control": f"private, max-age={max_age_s}" if max_age_s else "private, no-cache",
    }
    if _matches(request.headers.get("if-none-match"), opaque):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _matches(given: str | None, tag: str) -> bool:
    if given is None:
        return False
    return given.strip() == "*" or tag in {part.strip().removeprefix("W/") for part in given.split(",")}
