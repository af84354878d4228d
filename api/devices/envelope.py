"""How Volinks cabinets want to be answered: always an envelope of their own (volinks.md 10)."""

import ipaddress
from datetime import datetime
from typing import Any

import structlog
from fastapi.responses import JSONResponse

_LOG = structlog.get_logger(__name__)
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


def is_inside(source: str, networks: tuple[str, ...]) -> bool:
    """Whether an address is of one of these networks (CIDR); no networks: any is."""
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(each, strict=False) for each in networks)
