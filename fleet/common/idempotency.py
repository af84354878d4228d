"""Idempotency keys for POSTs that move money or metal (api.md): one key, one effect, one answer."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from fleet.common.models import IdempotencyKey
from fleet.common.prepared import table_of, write, write_later

KEPT = timedelta(hours=24)
_KEYS: Final = table_of(IdempotencyKey)
_CLAIM: Final = insert(_KEYS).on_conflict_do_nothing(index_elements=["scope", "key"]).returning(_KEYS.c.id)
_ANSWER: Final = update(_KEYS).where(_KEYS.c.scope == bindparam("of_scope"), _KEYS.c.key == bindparam("of_key"))


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    body: dict[str, Any]


def fingerprint(route: str, body: bytes) -> bytes:
    return hashlib.sha256(route.encode() + b"\0" + body).digest()


def begin(
    session: Session, *, scope: str, key: str, route: str, body: bytes, request_id: str | None, now: datetime
) -> StoredAnswer | None:
    """Claim `key` in the caller's transaction, or return what it answered before.

    The row is written in the same transaction as the effect: a crash leaves neither. A second request waits on the
    unique index until the first commits or rolls back. Raises IdempotencyKeyReused for another route or body.
    """
    print_ = fingerprint(route, body)
    asked = {"scope": scope, "key": key, "route": route, "fingerprint": print_}
    claimed = write(session, _CLAIM, {**asked, "request_id": request_id, "created_at": now})
    if claimed is not None:
        return None
    row = session.scalars(
        select(IdempotencyKey).where(IdempotencyKey.scope == scope, IdempotencyKey.key == key)
    ).one_or_none()
    if row is None:  # swept between the two statements
        raise IdempotencyKeyInUse("the first request under this Idempotency-Key is still running", key=key)
    if row.fingerprint != print_:
        raise IdempotencyKeyReused("this Idempotency-Key was used for another request", key=key)
    if row.status is None or row.body is None:
        raise IdempotencyKeyInUse("the first request under this Idempotency-Key is still running", key=key)
    return StoredAnswer(row.status, row.body)


def finish(session: Session, *, scope: str, key: str, answer: StoredAnswer, now: datetime) -> None:
    """Keep `answer` under the key that `begin` claimed in this transaction."""
    found = {"of_scope": scope, "of_key": key}
    write_later(session, _ANSWER, {**found, "status": answer.status, "body": answer.body, "finished_at": now})


def replace(session: Session, *, scope: str, key: str, answer: StoredAnswer) -> None:
    """Keep a later answer of the same effect in place of the first one."""
    found = {"of_scope": scope, "of_key": key}
    write_later(session, _ANSWER, {**found, "status": answer.status, "body": answer.body})


def forget_old(session: Session, now: datetime) -> int:
    """Drop keys older than 24 h; returns how many."""
    result = session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - KEPT))
    return int(getattr(result, "rowcount", 0))
