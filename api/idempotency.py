"""`Idempotency-Key`: one key, one effect, one answer, however often the request is sent (decision 0044)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from psycopg2.errors import LockNotAvailable
from pydantic import BaseModel
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse

from api.auth import Claims
from api.problems import request_id_of
from fleet.common import idempotency
from fleet.common.errors import IdempotencyKeyInUse
from fleet.common.idempotency import Claim, StoredAnswer
from fleet.common.models import IdempotencyKey

REPLAYED = "Idempotency-Replayed"


@dataclass(frozen=True, slots=True)
class Once:
    """One request under its key. The answer is stored in the transaction of the effect, so a crash leaves neither."""

    scope: str
    key: str
    route: str
    body: bytes
    request_id: str | None

    def answer(
        self, session: Session, now: datetime, work: Callable[[], BaseModel], *, status: int = 200
    ) -> JSONResponse:
        """Do `work` and keep its answer, or repeat the answer of the first time."""
        stored = self.begin(session, now)
        if stored is not None:
            return replay(stored)
        body = work().model_dump(mode="json")
        self.finish(session, StoredAnswer(status, body), now)
        return JSONResponse(body, status)

    def stored(self, engine: Engine, now: datetime) -> StoredAnswer | None:
        """The answer of the first time, for work that cannot share a transaction with its answer. Claims nothing.

        Raises IdempotencyKeyReused like `begin`, before anything is done.
        """
        with Session(engine) as session:
            found = self.begin(session, now)
            session.rollback()
            return found

    def begin(self, session: Session, now: datetime) -> StoredAnswer | None:
        """Claim the key, or return its answer. A request that is still running is waited for."""
        with self.waiting():
            return idempotency.begin(session, self.claim(), now)

    def claim(self) -> Claim:
        """For a statement that claims the key and asks for more: `waiting` goes around it."""
        return Claim.of(scope=self.scope, key=self.key, route=self.route, body=self.body, request_id=self.request_id)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Who waits too long for the first request hears that it is still running."""
        try:
            yield
        except OperationalError as error:
            if not _is_about_keys(error.orig):
                raise
            raise IdempotencyKeyInUse(
                "the first request under this Idempotency-Key is still running", key=self.key
            ) from error

    def finish(self, session: Session, answer: StoredAnswer, now: datetime) -> None:
        idempotency.finish(session, scope=self.scope, key=self.key, answer=answer, now=now)

    def replace(self, session: Session, answer: StoredAnswer, *, instead_of: int | None = None) -> None:
        """Keep a later answer of the same effect in place of the first one; `instead_of`: if that has this status."""
        idempotency.replace(session, scope=self.scope, key=self.key, answer=answer, instead_of=instead_of)


def _is_about_keys(error: object) -> bool:
    """The lock that was not to be had: the same statement may wait for others."""
    context = error.diag.context if isinstance(error, LockNotAvailable) else None
    return context is not None and IdempotencyKey.__tablename__ in context


def replay(stored: StoredAnswer) -> JSONResponse:
    return JSONResponse(stored.body, stored.status, headers={REPLAYED: "true"})


def _header(description: str) -> Any:
    return Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description=description,
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    )


async def _once(
    request: Request,
    claims: Claims,
    idempotency_key: Annotated[str, _header("Made by the caller, one per intended effect (a UUID). Kept 24 h.")],
) -> Once:
    return Once(
        scope=str(claims.user_id),
        key=idempotency_key,
        route=f"{request.method} {request.url.path}",
        body=await request.body(),
        request_id=request_id_of(request),
    )


Idempotent = Annotated[Once, Depends(_once)]


@dataclass(frozen=True, slots=True)
class OnceIfKeyed:
    """For what can be asked only once anyway: a key is not needed, and one that is sent has the first answer kept."""

    once: Once | None

    def answer(self, session: Session, now: datetime, work: Callable[[], BaseModel]) -> JSONResponse:
        """As `Once.answer`."""
        return (
            JSONResponse(work().model_dump(mode="json")) if self.once is None else self.once.answer(session, now, work)
        )


async def _once_if_keyed(
    request: Request,
    claims: Claims,
    idempotency_key: Annotated[
        str | None, _header("As everywhere, and may be left out: a second request cannot do it again.")
    ] = None,
) -> OnceIfKeyed:
    return OnceIfKeyed(None if idempotency_key is None else await _once(request, claims, idempotency_key))


IdempotentIfKeyed = Annotated[OnceIfKeyed, Depends(_once_if_keyed)]
