"""Which rate limit holds where, and how a request is counted."""

import re
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Scope

from api.addresses import PREFIX
from api.auth import claims_of
from api.deps import address_of
from api.devices.names import hardware_id
from api.problems import HEADERS, problem, request_id_of
from api.ratelimit import Rule, Verdict
from api.runtime import runtime_of
from fleet.common.clock import utc_now
from fleet.common.networks import one_line

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
_BY_METHOD: Final = {
    method: [(pattern, rules) for each, pattern, rules in _ROUTES if each == method] for method, *_ in _ROUTES
}


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
    for pattern, further in _BY_METHOD.get(method, ()):
        if pattern.fullmatch(path):
            rules.extend(further)
    return rules


def refusal(scope: Scope) -> ASGIApp | None:
    """Count the request and have its answer tell the limits; what answers it when it is one too many.

    Outside /api nothing is limited: health checks and metrics are asked by machines of ours.
    """
    path: str = scope["path"]
    if not path.startswith("/api/v1/"):
        return None
    connection = HTTPConnection(scope)
    runtime = runtime_of(connection)
    claims = claims_of(connection, utc_now())
    device = device_of(connection)
    verdict = runtime.limiter.hit(
        rules_for(scope["method"], path, signed_in=claims is not None)
        if device is None
        else [_DEVICE, _DEVICE_ADDRESS],
        user=device or (str(claims.user_id) if claims is not None else None),
        address=one_line(address_of(connection)),
    )
    if verdict is None:
        return None
    scope["state"][HEADERS] += [
        (b"ratelimit-limit", b"%d" % verdict.limit),
        (b"ratelimit-remaining", b"%d" % verdict.remaining),
        (b"ratelimit-reset", b"%d" % verdict.reset_s),
    ]
    if verdict.allowed:
        return None
    runtime.metrics.limited.labels(verdict.rule).inc()
    return _refused(connection, verdict)


def _refused(connection: HTTPConnection, verdict: Verdict) -> ASGIApp:
    return problem(
        429,
        "too_many_requests",
        f"too many requests: come back in {verdict.reset_s} s",
        request_id=request_id_of(connection),
        headers={"Retry-After": str(verdict.reset_s)},
        members={"retry_after_s": verdict.reset_s},
    )
