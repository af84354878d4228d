"""Who is calling: a bearer token, checked against the account as it is now and not as it was then."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from api.deps import Now, ReadingDep, RuntimeDep, SessionDep
from api.operations import instant
from api.runtime import runtime_of
from fleet.common.errors import FleetError, Forbidden
from fleet.users.errors import AccountNeeded, NotAuthenticated
from fleet.users.models import Role, User
from fleet.users.tokens import AccessClaims, signed_in_user

#: For the document only; the header is read by `claims_of`, once per request.
_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="Access token from `POST /user/auth/verify`")


def claims_of(connection: HTTPConnection, now: datetime) -> AccessClaims | None:
    """The claims of a valid access token; None without one. Verified once per request, kept in its state."""
    state = connection.scope.setdefault("state", {})
    if "claims" not in state:
        state["claims"] = _verified(connection, now)
    found: AccessClaims | None = state["claims"]
    return found


def _verified(connection: HTTPConnection, now: datetime) -> AccessClaims | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None
    try:
        return runtime_of(connection).keys.verify_access(token.strip(), now)
    except FleetError:
        return None


@instant
def _claims(request: Request, now: Now, _: Annotated[object, Depends(_bearer)]) -> AccessClaims:
    claims = claims_of(request, now)
    if claims is None:
        raise NotAuthenticated("sign in first: this needs a valid access token")
    return claims


Claims = Annotated[AccessClaims, Depends(_claims)]


def _current_user(session: SessionDep, claims: Claims, now: Now) -> User:
    return signed_in_user(session, claims, now)


def _reading_user(session: ReadingDep, claims: Claims, now: Now) -> User:
    return signed_in_user(session, claims, now)


def _waiting_user(runtime: RuntimeDep, claims: Claims, now: Now) -> User:
    with Session(runtime.reads) as session:
        return signed_in_user(session, claims, now)


def _operator(user: User) -> User:
    if user.role is not Role.OPERATOR:
        raise Forbidden("this is for operators")
    return user


@instant
def _current_operator(user: Annotated[User, Depends(_current_user)]) -> User:
    return _operator(user)


@instant
def _waiting_operator(user: Annotated[User, Depends(_waiting_user)]) -> User:
    return _operator(user)


def _with_account(user: User) -> User:
    if user.guest:
        raise AccountNeeded("this takes an account: prove a phone or an e-mail address first")
    return user


@instant
def _current_account(user: Annotated[User, Depends(_current_user)]) -> User:
    return _with_account(user)


@instant
def _waiting_account(user: Annotated[User, Depends(_waiting_user)]) -> User:
    return _with_account(user)


#: In the request's own transaction. Guests too, whose every right is in what they ask for.
CurrentUser = Annotated[User, Depends(_current_user)]
CurrentOperator = Annotated[User, Depends(_current_operator)]
#: In the session of an operation that only reads.
ReadingUser = Annotated[User, Depends(_reading_user)]
#: Not guests: money that stays here, and promises for later.
CurrentAccount = Annotated[User, Depends(_current_account)]
WaitingAccount = Annotated[User, Depends(_waiting_account)]
#: For operations that wait or stream: checked with a connection that is given back before the waiting begins.
WaitingUser = Annotated[User, Depends(_waiting_user)]
WaitingOperator = Annotated[User, Depends(_waiting_operator)]
