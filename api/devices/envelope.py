"""How Volinks cabinets want to be answered: always an envelope of their own (volinks.md 10)."""

from datetime import datetime
from typing import Any

from fastapi.responses import JSONResponse

OK = 200
BAD_REQUEST = 400
FORBIDDEN = 403
NOT_FOUND = 404
NOT_CONFIGURED = 503


def envelope(data: Any, now: datetime, code: int = OK, message: str = "ok") -> JSONResponse:
    """`code` is the HTTP status too, so that proxies and logs see what became of a call."""
    return JSONResponse(
        {"code": code, "type": 0, "data": data, "msg": message, "time": round(now.timestamp() * 1000)}, code
    )
