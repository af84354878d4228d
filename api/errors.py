"""Every failure becomes problem+json here and nowhere else."""

from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from api.problems import FieldProblem, problem, request_id_of
from fleet.common.errors import (
    Conflict,
    FleetError,
    Forbidden,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IllegalTransition,
    InvalidInput,
    NotFound,
    TooManyRequests,
)
from fleet.devices.logs.errors import PieceTooLarge
from fleet.payments.errors import InsufficientFunds
from fleet.rentals.errors import MoneyOwed, NotAPicture, PictureTooLarge
from fleet.subscriptions.errors import SubscriptionNotPaid
from fleet.users.errors import AccountNeeded, DestinationTaken, GuestsNotAllowed, NoSender, NotAuthenticated

log = structlog.get_logger(__name__)


#: The nearest class of an error's own line of descent decides.
STATUS: dict[type[FleetError], int] = {
    FleetError: 409,
    NotAuthenticated: 401,
    InsufficientFunds: 402,
    SubscriptionNotPaid: 402,
    NotFound: 404,
    InvalidInput: 422,
    Conflict: 409,
    Forbidden: 403,
    PieceTooLarge: 413,
    PictureTooLarge: 413,
    NotAPicture: 415,
    TooManyRequests: 429,
    IdempotencyKeyReused: 422,
    IdempotencyKeyInUse: 409,
    IllegalTransition: 409,
    NoSender: 503,
}

#: What to do about an error, as a member of its problem: where in this API.
_WAYS: dict[type[FleetError], dict[str, str]] = {
    MoneyOwed: {"pay_at": "/api/v1/payment/debts"},
    AccountNeeded: {"sign_up_at": "/api/v1/user/guest/verify"},
    DestinationTaken: {"sign_in_at": "/api/v1/user/auth/verify"},
    GuestsNotAllowed: {"sign_up_at": "/api/v1/user/auth/code"},
}

_HTTP_CODES = {
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}
#: SQLSTATEs that mean "not now": connection failures, deadlock, serialization, lock timeout, shutdown.
_PASSING = ("08", "40", "53", "55P03", "57")


def status_of(error: FleetError) -> int:
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def install(app: FastAPI) -> None:
    app.add_exception_handler(FleetError, _fleet)  # type: ignore[arg-type]  # Starlette types every handler alike
    app.add_exception_handler(RequestValidationError, _validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http)  # type: ignore[arg-type]
    app.add_exception_handler(DBAPIError, _database)  # type: ignore[arg-type]
    app.add_exception_handler(PoolTimeout, _pool)


def members_of(error: FleetError) -> dict[str, Any]:
    """What its problem says besides the standard members."""
    return {**error.attributes, **_WAYS.get(type(error), {})}


def _fleet(request: Request, error: FleetError) -> JSONResponse:
    status = status_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    retry_after = error.attributes.get("retry_after_s")
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, round(retry_after)))
    return problem(
        status, error.code, error.message, request_id=request_id_of(request), headers=headers,
        members=members_of(error),
    )  # fmt: skip


def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
    """What was sent is not repeated: it may hold a secret."""
    found = [
        FieldProblem(field=".".join(map(str, entry["loc"])), message=_message(entry), kind=entry["type"])
        for entry in error.errors()
    ]
    return problem(
        422,
        "validation_failed",
        f"{found[0].field}: {found[0].message}",
        request_id=request_id_of(request),
        members={"field": found[0].field, "errors": [entry.model_dump() for entry in found]},
    )


def _message(entry: dict[str, Any]) -> str:
    """Of a body that is no JSON: what is wrong with it is beside FastAPI's own words."""
    found: str = entry["msg"]
    return f"{found}: {entry['ctx']['error']}" if entry["type"] == "json_invalid" else found


def _http(request: Request, error: HTTPException) -> JSONResponse:
    return problem(
        error.status_code,
        _HTTP_CODES.get(error.status_code, "error"),
        str(error.detail),
        request_id=request_id_of(request),
        headers=error.headers,
    )


def _database(request: Request, error: DBAPIError) -> JSONResponse:
    state: str = getattr(error.orig, "pgcode", None) or ""
    passing = state.startswith(_PASSING) or (not state and isinstance(error, OperationalError))
    if not passing:
        log.error("database_refused", exc_info=error)
        return internal(request_id_of(request))
    log.warning("database_not_now", sqlstate=state or None, error=str(error.orig).strip())
    return problem(
        503, "try_again", "the database cannot take this now", request_id=request_id_of(request),
        headers={"Retry-After": "1"},
    )  # fmt: skip


def _pool(request: Request, error: Exception) -> JSONResponse:
    log.warning("database_pool_empty", error=str(error))
    return problem(
        503, "try_again", "too much is going on", request_id=request_id_of(request), headers={"Retry-After": "1"}
    )


def internal(request_id: str | None) -> JSONResponse:
    return problem(500, "internal_error", "something went wrong on our side; the log has it", request_id=request_id)
