"""Which rate limit holds where, and the middleware that applies them."""

import re

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.addresses import PREFIX
from api.auth import claims_of
from api.devices.names import hardware_id
from api.problems import problem, request_id_of
from api.ratelimit import Rule, Verdict
from api.runtime import runtime_of
from fleet.common.clock import utc_now

#: Everybody, everywhere. Riders behind one mobile operator share an address, so it has room for many of them.
_USER = Rule("user", 600, 60)
_ADDRESS = Rule("address", 6000, 60, per="address")
#: A provider delivers its backlog at once.
_WEBHOOK = Rule("webhook", 1200, 60, per="address")

#: Whoever tries stolen cards makes himself as many users as he likes.
_CARD = Rule("card", 300, 3600, per="address")

#: What is guessed at, costs money to send, or moves metal: (method, path, further rules).
_ROUTES: tuple[tuple[str, re.Pattern[str], tuple[Rule, ...]], ...] = (
    ("POST", re.compile(r"/api/v1/user/auth/code"), (Rule("auth-code", 10, 60, per="address"),)),
    ("POST", re.compile(r"/api/v1/user/auth/verify"), (Rule("auth-verify", 30, 60, per="address"),)),
    ("POST", re.compile(r"/api/v1/user/guest"), (Rule("guest", 60, 3600, per="address"),)),
    ("POST", re.compile(r"/api/v1/user/guest/verify"), (Rule("auth-verify", 30, 60, per="address"),)),
    ("POST", re.compile(r"/api/v1/user/auth/refresh"), (Rule("auth-refresh", 60, 60, per="address"),)),
    ("POST", re.compile(r"/api/v1/rental/start"), (Rule("rental-start", 60, 60),)),
    ("POST", re.compile(r"/api/v1/payment/top-up.*"), (Rule("top-up", 30, 60),)),
    ("POST", re.compile(r"/api/v1/payment/(method|(intent|top-up)/[^/]+/confirm)"), (_CARD,)),
    ("POST", re.compile(r"/api/v1/subscription(/pay)?"), (Rule("subscription", 30, 60),)),
    ("POST", re.compile(r"/api/v1/payment/webhook/.*"), (_WEBHOOK,)),
    ("POST", re.compile(r"/api/v1/device/(claim|renew)"), (Rule("device-claim", 600, 60, per="address"),)),
    ("PUT", re.compile(r"/api/v1/device/log/.*"), (Rule("device-log", 1200, 60, per="address"),)),
)


#: Calls of vendors' cabinets: a handful in 20 minutes, and more after a restart. Counted per cabinet named, because
#: whole fleets share an address; whoever tries IMEIs from one has that address's limit.
_DEVICE = Rule("device", 60, 60)
_DEVICE_ADDRESS = Rule("device-address", 1200, 60, per="address")
_DEVICE_PATHS = re.compile(r"/api/v1/(rentbox|iot|advert|common)/.*")


def device_of(connection: HTTPConnection) -> str | None:
    """The cabinet that a call says it is from, as its endpoint reads it; None for all other calls."""
    path = connection.scope["path"]
    if _DEVICE_PATHS.fullmatch(path) is None:
        return None
    return f"device:{hardware_id(path.removeprefix(PREFIX), connection.query_params)[:64]}"


def rules_for(method: str, path: str, *, signed_in: bool) -> list[Rule]:
    rules = [_USER, _ADDRESS] if signed_in else [_ADDRESS]
    for wanted, pattern, further in _ROUTES:
        if method == wanted and pattern.fullmatch(path):
            rules.extend(further)
    return rules


class RateLimits:
    """Outside /api nothing is limited: health checks and metrics are asked by machines of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/api/v1/"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        runtime = runtime_of(connection)
        claims = claims_of(connection, utc_now())
        device = device_of(connection)
        verdict = runtime.limiter.hit(
            rules_for(scope["method"], scope["path"], signed_in=claims is not None)
            if device is None
            else [_DEVICE, _DEVICE_ADDRESS],
            user=device or (str(claims.user_id) if claims is not None else None),
            address=connection.client.host if connection.client is not None else "unknown",
        )
        if verdict is None:
            await self.app(scope, receive, send)
            return
        if not verdict.allowed:
            runtime.metrics.limited.labels(verdict.rule).inc()
            await _refusal(connection, verdict)(scope, receive, _with_headers(send, verdict))
            return
        await self.app(scope, receive, _with_headers(send, verdict))


def _refusal(connection: HTTPConnection, verdict: Verdict) -> ASGIApp:
    return problem(
        429,
        "too_many_requests",
        f"too many requests: come back in {verdict.reset_s} s",
        request_id=request_id_of(connection),
        headers={"Retry-After": str(verdict.reset_s)},
        members={"retry_after_s": verdict.reset_s},
    )


def _with_headers(send: Send, verdict: Verdict) -> Send:
    async def outgoing(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["RateLimit-Limit"] = str(verdict.limit)
            headers["RateLimit-Remaining"] = str(verdict.remaining)
            headers["RateLimit-Reset"] = str(verdict.reset_s)
        await send(message)

    return outgoing
