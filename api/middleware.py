"""What every request passes: an id, the canonical path, security headers. Plain ASGI, no copies."""

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import route_of
from api.problems import problem
from firmware_protocol.firmware.documents import MAX_IMAGE_BYTES
from fleet.common.asking import asked_by
from fleet.db import new_id
from fleet.rentals.underway.pictures import PICTURE_MAX_BYTES

log = structlog.get_logger("api.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
#: Below /api/ but not of an area.
_OWN = ("/api/v1/", "/api/docs", "/api/openapi.json")

_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-site",
}
#: Firmware images are streamed to disk, and only operators may send them.
#: What may be larger than other bodies: method, path, bytes.
_LARGER = (
    ("PUT", re.compile(r"/api/v1/admin/firmware/release/[0-9]+/image"), MAX_IMAGE_BYTES),
    ("POST", re.compile(r"/api/v1/rental/[0-9a-fA-F-]{36}/return-claim/photo"), PICTURE_MAX_BYTES),
)
#: What an API answer may do in a browser: nothing.
_POLICY = "default-src 'none'; frame-ancestors 'none'"


class RequestIds:
    """Takes X-Request-Id when it looks like one, else makes one; sends it back and into every log line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id")
        request_id = given if given and _REQUEST_ID.fullmatch(given) else str(new_id())
        scope.setdefault("state", {})["request_id"] = request_id
        began = time.perf_counter()

        async def outgoing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
                log.debug(
                    "request", method=scope["method"], route=route_of(scope), status=message["status"],
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )  # fmt: skip
            await send(message)

        with asked_by(request_id):
            await self.app(scope, receive, outgoing)


class Unversioned:
    """`/api/{area}/…` is `/api/v1/{area}/…`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith("/api/") and not path.startswith(_OWN):
                raw = scope.get("raw_path") or path.encode()
                # In place, so that those outside see the route that was matched.
                scope["path"], scope["raw_path"] = "/api/v1" + path[4:], b"/api/v1" + raw[4:]
        await self.app(scope, receive, send)


class SecurityHeaders:
    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self.app = app
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def outgoing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", _POLICY)
                headers.setdefault("Cache-Control", "no-store")
                if self._https:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        await self.app(scope, receive, outgoing)


class BodyLimit:
    """Refuses bodies above `limit` bytes: at once when their length is declared, else as soon as they exceed it."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        larger = (most for method, path, most in _LARGER if scope["method"] == method and path.fullmatch(scope["path"]))
        limit = next(larger, self._limit)
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            answer = problem(413, "too_large", _detail(limit), request_id=scope["state"]["request_id"])
            await answer(scope, receive, send)
            return
        taken = 0

        async def counting() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise HTTPException(413, _detail(limit))
            return message

        await self.app(scope, counting, send)


def _detail(limit: int) -> str:
    return f"a body has at most {limit} bytes"
