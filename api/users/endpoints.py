from uuid import UUID

from fastapi import Response

from api.auth import Claims, CurrentUser, ReadingUser, WaitingUser
from api.deps import Address, Now, ReadingDep, RuntimeDep, SessionDep, UserAgent
from api.problems import problems
from api.users.schemas import (
    CodeSent,
    Destination,
    GuestIn,
    Me,
    MePatch,
    RefreshIn,
    SessionOut,
    Sessions,
    SignedIn,
    Tokens,
    VerifyCode,
)
from api.v1 import area
from fleet.common.errors import NotFound
from fleet.db import session_scope
from fleet.users import guests, otp, tokens
from fleet.users.service import update_profile
from fleet.users.tokens import Refused

router = area("user", "users")


@router.post(
    "/auth/code",
    operation_id="request_code",
    summary="Have a one-time code sent",
    status_code=202,
    responses=problems(),
)
def request_code(body: Destination, session: SessionDep, runtime: RuntimeDep, now: Now, address: Address) -> CodeSent:
    """By SMS or e-mail. The answer is the same whether or not there is an account; verifying the code makes one."""
    challenge = otp.request_code(session, body.address, now, runtime.settings, address=address)
    return CodeSent(destination=challenge.destination, expires_at=challenge.expires_at)


@router.post(
    "/auth/verify", operation_id="verify_code", summary="Sign in, or up, with the code", responses=problems(401, 403)
)
def verify_code(body: VerifyCode, runtime: RuntimeDep, now: Now, address: Address, user_agent: UserAgent) -> SignedIn:
    """The newest code counts; it works once and allows five tries."""
    with session_scope(runtime.engine) as session:
        found = otp.verify_code(
            session, body.address, body.code, now, runtime.settings,
            keys=runtime.keys, user_agent=user_agent, address=address,
        )  # fmt: skip
    return _signed_in(found)


def _signed_in(found: tokens.SignedIn | Refused) -> SignedIn:
    """After the commit: what is refused is raised here, and the try that was used up stays used up."""
    if isinstance(found, Refused):
        raise found.error
    return SignedIn(**Tokens.of(found.tokens).model_dump(), new=found.created, user=Me.model_validate(found.user))


@router.post(
    "/guest", operation_id="welcome_guest", summary="Rent by card without an account", status_code=201,
    responses=problems(403),
)  # fmt: skip
def welcome_guest(body: GuestIn, session: SessionDep, runtime: RuntimeDep, now: Now, user_agent: UserAgent) -> SignedIn:
    """A guest with tokens as everybody has; who loses them has lost the guest. A guest has one rental at a time, begun
    with `pay: card`: the card is kept, pays all that the rental costs, late fees too, and gets back what is too much.
    Everything else that holds money or makes promises answers `account_needed`, until a phone or an e-mail address is
    proven (`/user/guest/verify`). 403 where the fleet wants no guests.
    """
    found = guests.welcome(
        session, now, runtime.settings, keys=runtime.keys, locale=body.locale, country=body.country,
        user_agent=user_agent,
    )  # fmt: skip
    return _signed_in(found)


@router.post(
    "/guest/verify",
    operation_id="verify_guest",
    summary="Make an account of a guest",
    responses=problems(401, 403, 409),
)
def verify_guest(
    body: VerifyCode, runtime: RuntimeDep, user: WaitingUser, now: Now, address: Address, user_agent: UserAgent
) -> SignedIn:
    """With a code that was sent to the phone or e-mail address (`/user/auth/code`). Rentals, receipts and cards stay,
    and the tokens are new: the guest's own work no more. 409 `destination_taken`: there is an account already, which
    the same code signs in to; what was rented as a guest stays the guest's.
    """
    with session_scope(runtime.engine) as session:
        found = guests.become_account(
            session, body.address, body.code, now, runtime.settings,
            guest_id=user.id, keys=runtime.keys, user_agent=user_agent, address=address,
        )  # fmt: skip
    return _signed_in(found)


@router.post(
    "/auth/refresh", operation_id="refresh_tokens", summary="Trade a refresh token for a new pair",
    responses=problems(401, 403),
)  # fmt: skip
def refresh(body: RefreshIn, runtime: RuntimeDep, now: Now) -> Tokens:
    """A refresh token works once. Using it again ends the whole session: one of the two users is a thief."""
    with session_scope(runtime.engine) as session:
        found = tokens.refresh(session, body.refresh_token, now, runtime.settings, runtime.keys)
    if isinstance(found, Refused):
        raise found.error
    return Tokens.of(found.tokens)


@router.post(
    "/auth/sign-out", operation_id="sign_out", summary="End this session", status_code=204, responses=problems(401)
)
def sign_out(session: SessionDep, user: CurrentUser, claims: Claims, now: Now) -> Response:
    """Its access and refresh tokens stop working at once."""
    tokens.sign_out(session, user_id=user.id, session_id=claims.session_id, now=now)
    return Response(status_code=204)


@router.get("/me", operation_id="get_me", summary="My account", responses=problems(401, 403))
def me(user: ReadingUser) -> Me:
    return Me.model_validate(user)


@router.patch("/me", operation_id="patch_me", summary="Change my name, language or time zone",
              responses=problems(401, 403))  # fmt: skip
def patch_me(body: MePatch, session: SessionDep, user: CurrentUser) -> Me:
    changed = update_profile(session, user, name=body.name, locale=body.locale, time_zone=body.time_zone)
    return Me.model_validate(changed)


@router.get("/sessions", operation_id="list_sessions", summary="Where I am signed in", responses=problems(401, 403))
def sessions(session: ReadingDep, user: ReadingUser, claims: Claims, now: Now) -> Sessions:
    return Sessions(
        items=[
            SessionOut(
                id=found.id,
                user_agent=found.user_agent,
                created_at=found.created_at,
                last_used_at=found.last_used_at,
                expires_at=found.expires_at,
                current=found.id == claims.session_id,
            )
            for found in tokens.sessions_of(session, user.id, now)
        ]
    )


@router.delete(
    "/sessions/{session_id}", operation_id="revoke_session", summary="Sign out one of my devices",
    status_code=204, responses=problems(401, 403, 404),
)  # fmt: skip
def revoke_session(session_id: UUID, session: SessionDep, user: CurrentUser, now: Now) -> Response:
    if not tokens.sign_out(session, user_id=user.id, session_id=session_id, now=now):
        raise NotFound("there is no such session")
    return Response(status_code=204)
