from typing import Annotated
from uuid import UUID

from fastapi import Query

from api.admin.acts import ActsDep
from api.admin.schemas import AuditEntry, UserDetail, UserOut, Users, UserStatusIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.payments.schemas import WalletOut
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.payments import wallets
from fleet.rentals import queries as rentals
from fleet.users import audit, service

router = area("admin", "admin")


@router.get("/user", operation_id="admin_find_users", summary="Find riders and operators",
            responses=problems(401, 403))  # fmt: skip
def find(
    session: SessionDep,
    _: CurrentOperator,
    q: Annotated[
        str, Query(min_length=2, max_length=100, description="phone, e-mail address or name, or its beginning")
    ],
) -> Users:
    return Users(items=[UserOut.model_validate(user) for user in service.find_users(session, q)])


@router.get("/user/{user_id}", operation_id="admin_get_user", summary="One account with its wallet and open rentals",
            responses=problems(401, 403, 404))  # fmt: skip
def show(user_id: UUID, session: SessionDep, runtime: RuntimeDep, _: CurrentOperator) -> UserDetail:
    user = service.get_user(session, user_id)
    wallet = wallets.wallet_balance(session, user_id, runtime.settings.currency)
    return UserDetail(
        **UserOut.model_validate(user).model_dump(),
        wallet=WalletOut.of(wallet),
        open_rentals=[rental.id for rental in rentals.current(session, user_id)],
    )


@router.post("/user/{user_id}/status", operation_id="admin_set_user_status", summary="Suspend or re-admit an account",
             responses=problems(401, 403, 404))  # fmt: skip
def set_status(user_id: UUID, body: UserStatusIn, acts: ActsDep) -> UserOut:
    """A suspended account is signed out everywhere at once."""
    user = service.set_status(
        acts.session, user_id, body.status, actor_id=acts.operator.id, reason=body.reason, now=acts.now
    )
    acts.record("user.set_status", user_id=user_id, detail=body.model_dump(mode="json"))
    return UserOut.model_validate(user)


@router.get("/audit", operation_id="admin_audit_log", summary="Who did what, newest first",
            responses=problems(401, 403))  # fmt: skip
def log(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    about: Annotated[UUID | None, Query(description="done by or to this account")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AuditEntry]:
    before = runtime.cursors.read("audit", cursor)
    rows = audit.entries(session, about=about, limit=limit + 1, before=before)
    more = runtime.cursors.make("audit", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[AuditEntry.model_validate(row) for row in rows[:limit]], next=more)
