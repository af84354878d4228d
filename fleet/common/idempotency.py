"""Idempotency keys for POSTs that move money or metal: one key, one effect, one answer (decisions 0044, 0330)."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Select, String, and_, bindparam, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from fleet.common.models import IdempotencyKey
from fleet.common.prepared import Prepared, table_of, write_later

KEPT = timedelta(hours=24)
_KEYS: Final = table_of(IdempotencyKey)
_ANSWER: Final = update(_KEYS).where(_KEYS.c.scope == bindparam("of_scope"), _KEYS.c.key == bindparam("of_key"))
_LATER: Final = _ANSWER.where(_KEYS.c.status == bindparam("of_status"))
#: Where a transaction remembers which row it made: what claims a key has no answer of its own (decision 0330).
_MINE: Final = "voltbay.claimed"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """One request under a key. `scope`: whose key it is; `fingerprint`: which request."""

    scope: str
    key: str
    route: str
    fingerprint: bytes
    request_id: str | None

    @classmethod
    def of(cls, *, scope: str, key: str, route: str, body: bytes, request_id: str | None) -> Self:
        return cls(scope, key, route, fingerprint(route, body), request_id)


def fingerprint(route: str, body: bytes) -> bytes:
    return hashlib.sha256(route.encode() + b"\0" + body).digest()


def begin(session: Session, claim: Claim, now: datetime) -> StoredAnswer | None:
    """Claim the key in the caller's transaction, or return what it answered before.

    The row is written in the same transaction as the effect: a crash leaves neither. A second request waits on the
    unique index until the first commits or rolls back. Raises IdempotencyKeyReused for another route or body.
    """
    claim_later(session, claim, now)
    found = _FOUND.all(session, of_scope=claim.scope, of_key=claim.key)
    return earlier_answer(claim, found[0] if found else None)


def claim_later(session: Session, claim: Claim, now: datetime) -> None:
    """Claim the key with the session's next statement. That, or a later one of the transaction, has to ask for
    `columns()` of the row `of_key()`, and `earlier_answer` says what they mean.
    """
    _CLAIM.later(
        session,
        for_scope=claim.scope,
        for_key=claim.key,
        for_route=claim.route,
        for_fingerprint=claim.fingerprint,
        for_request_id=claim.request_id,
        for_created_at=now,
    )


def of_key() -> ColumnElement[bool]:
    """The row of the key, by the values `of_scope` and `of_key`; none when they are None."""
    scope, key = (bindparam(name, type_=String()) for name in ("of_scope", "of_key"))
    return and_(_KEYS.c.scope == scope, _KEYS.c.key == key)


def columns() -> tuple[ColumnElement[Any], ...]:
    """What a query has to tell `earlier_answer`, named as there."""
    mine = cast(_KEYS.c.id, String) == func.current_setting(_MINE, True)
    return mine.label("claimed"), _KEYS.c.fingerprint, _KEYS.c.status.label("answered"), _KEYS.c.body.label("answer")


def earlier_answer(claim: Claim, row: Any) -> StoredAnswer | None:
    """The answer of the first time; None: this transaction has claimed the key. `row`: `columns()`, or None.

    Raises IdempotencyKeyReused, IdempotencyKeyInUse.
    """
    if row is None or row.fingerprint is None:  # swept between the two statements
        raise IdempotencyKeyInUse("the first request under this Idempotency-Key is still running", key=claim.key)
    if row.claimed and row.answered is None:
        return None
    if bytes(row.fingerprint) != claim.fingerprint:
        raise IdempotencyKeyReused("this Idempotency-Key was used for another request", key=claim.key)
    if row.answered is None or row.answer is None:
        raise IdempotencyKeyInUse("the first request under this Idempotency-Key is still running", key=claim.key)
    return StoredAnswer(row.answered, row.answer)


def _claim() -> Select[str]:
    """Inserts the row unless there is one, and remembers for the rest of the transaction whether it did. One that is
    being written is waited for.
    """
    names = ("scope", "key", "route", "fingerprint", "request_id", "created_at")
    row = insert(_KEYS).values({name: bindparam(f"for_{name}", type_=_KEYS.c[name].type) for name in names})
    made = row.on_conflict_do_nothing(index_elements=["scope", "key"]).returning(_KEYS.c.id).cte("made")
    mine = select(cast(made.c.id, String)).scalar_subquery()
    return select(func.set_config(_MINE, func.coalesce(mine, ""), True))


_CLAIM: Final = Prepared(_claim(), planned=True)
_FOUND: Final = Prepared(select(*columns()).where(of_key()), planned=True)


def finish(session: Session, *, scope: str, key: str, answer: StoredAnswer, now: datetime) -> None:
    """Keep `answer` under the key that `begin` claimed in this transaction."""
    found = {"of_scope": scope, "of_key": key}
    write_later(session, _ANSWER, {**found, "status": answer.status, "body": answer.body, "finished_at": now})


def replace(session: Session, *, scope: str, key: str, answer: StoredAnswer, instead_of: int | None = None) -> None:
    """Keep a later answer of the same effect in place of the first one; `instead_of`: if that has this status."""
    values = {"of_scope": scope, "of_key": key, "status": answer.status, "body": answer.body}
    if instead_of is None:
        write_later(session, _ANSWER, values)
    else:
        write_later(session, _LATER, {**values, "of_status": instead_of})


def forget_old(session: Session, now: datetime) -> int:
    """Drop keys older than 24 h; returns how many."""
    result = session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - KEPT))
    return int(getattr(result, "rowcount", 0))
