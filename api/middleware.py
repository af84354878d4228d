"""What every request passes, in two layers: `Edge` around everything, `Gate` before the routes. Plain ASGI, no copies.

Between them lies CORS, where it is switched on.
"""

import logging
import re
import time
from collections.abc import Iterable
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import internal
from api.limits import refusal
from api.metrics import Metrics, route_of
from api.problems import ANSWERING, HEADERS, problem
from firmware_protocol.firmware.documents import MAX_IMAGE_BYTES
from fleet.common.asking import asked_by
from fleet.db import new_id
from fleet.rentals.underway.pictures import PICTURE_MAX_BYTES

log = structlog.get_logger(__name__)
access = structlog.get_logger("api.access")
_ACCESS: Final = logging.getLogger("api.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
#: Below /api/ but not of an area.
_OWN = ("/api/v1/", "/api/docs", "/api/openapi.json")

#: What an API answer may do in a browser: nothing.
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-site"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_ONLY_HTTPS: Final = (b"strict-transport-security", b"max-age=31536000")
#: What may be larger than other bodies: method, path, bytes. Firmware images are streamed to disk, and only operators
#: may send them.
_LARGER = (
    ("PUT", re.compile(r"/api/v1/admin/firmware/release/[0-9]+/image"), MAX_IMAGE_BYTES),
    ("POST", re.compile(r"/api/v1/rental/[0-9a-fA-F-]{36}/return-claim/photo"), PICTURE_MAX_BYTES),
)


class Edge:
    """Takes X-Request-Id when it looks like one, else makes one, and has it in every log line; counts the request by
    the template of its route (a path has ids, which would make a series each); completes the headers of the answer.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, https: bool) -> None:
        self.app = app
        self._metrics = metrics
        self._headers = (*_SECURITY_HEADERS, _ONLY_HTTPS) if https else _SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given = _header(scope, b"x-request-id")
        request_id = given.decode() if given and _REQUEST_ID.fullmatch(given) else str(new_id())
        state = scope.setdefault("state", {})
        state["request_id"], state[ANSWERING], state[HEADERS] = request_id, False, []

        async def outgoing(message: Message) -> None:
            if message["type"] == "http.response.start":
                state[ANSWERING] = True
                own = (*self._headers, *state[HEADERS], (b"x-request-id", request_id.encode()))
                message["headers"] = _completed(message.get("headers", ()), own)
                self._note(scope, message["status"], time.perf_counter() - began)
            await send(message)

        self._metrics.in_flight += 1
        try:
            with asked_by(request_id):
                await self.app(scope, receive, outgoing)
        finally:
            self._metrics.in_flight -= 1

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], route_of(scope)
        self._metrics.answered(method, route, status, seconds)
        if _ACCESS.isEnabledFor(logging.DEBUG):
            access.debug("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


def _completed(headers: Iterable[tuple[bytes, bytes]], own: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What an endpoint says itself stays as it says it."""
    found = list(headers)
    said = {name for name, _ in found}
    return found + [each for each in own if each[0] not in said]


class Gate:
    """Canonical path, rate limits, a bound for the body; and the last resort: an exception nobody mapped is logged
    whole and answered with its request id only. Bodies above `limit` bytes are refused at once when their length is
    declared, else as soon as they exceed it.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            _canonical(scope)
            await (refusal(scope) or self._bounded(scope, receive))(scope, receive, send)
        except Exception:
            log.exception("request_failed", method=scope["method"])
            if scope["state"][ANSWERING]:
                raise
            await internal(scope["state"]["request_id"])(scope, receive, send)

    def _bounded(self, scope: Scope, receive: Receive) -> ASGIApp:
        """The routes behind the bound; or what refuses the body."""
        larger = (most for method, path, most in _LARGER if scope["method"] == method and path.fullmatch(scope["path"]))
        limit = next(larger, self._limit)
        declared = _header(scope, b"content-length") or b"0"
        if not declared.isdigit() or int(declared) > limit:
            return problem(413, "too_large", _detail(limit), request_id=scope["state"]["request_id"])
        if _header(scope, b"transfer-encoding") is None:
            return self.app  # the server reads no more than was declared
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise HTTPException(413, _detail(limit))
            return message

        async def counted(scope: Scope, _: Receive, send: Send) -> None:
            await self.app(scope, counting, send)

        return counted


def _canonical(scope: Scope) -> None:
    """`/api/{area}/…` is `/api/v1/{area}/…`. In place, so that those outside see the route that was matched."""
    path: str = scope["path"]
    if path.startswith("/api/") and not path.startswith(_OWN):
        raw = scope.get("raw_path") or path.encode()
        scope["path"], scope["raw_path"] = "/api/v1" + path[4:], b"/api/v1" + raw[4:]


def _header(scope: Scope, name: bytes) -> bytes | None:
    """ASGI has names in lower case."""
    return next((value for each, value in scope["headers"] if each == name), None)


def _detail(limit: int) -> str:
    return f"a body has at most {limit} bytes"
