import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common import idempotency
from fleet.common.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from fleet.common.idempotency import Claim, StoredAnswer
from fleet.common.models import IdempotencyKey
from fleet.db import session_scope
from tests.databases import Database
from tests.fleet.parallel import together, wide_engine
from tests.fleet.payments.conftest import NOW

ANSWER = StoredAnswer(202, {"id": "r1"})


def begin(
    session: Session, *, key: str = "k", body: bytes = b"{}", scope: str = "u1", route: str = "POST /start"
) -> StoredAnswer | None:
    return idempotency.begin(session, Claim.of(scope=scope, key=key, route=route, body=body, request_id=None), NOW)


def finish(session: Session) -> None:
    idempotency.finish(session, scope="u1", key="k", answer=ANSWER, now=NOW)


def test_the_first_does_the_work_the_next_gets_its_answer(session: Session) -> None:
    assert begin(session) is None
    finish(session)
    assert begin(session) == begin(session) == ANSWER


@pytest.mark.parametrize("other", [{"body": b"{ }"}, {"route": "POST /cancel"}])
def test_another_request_under_the_key_is_refused(session: Session, other: dict[str, str]) -> None:
    begin(session)
    finish(session)
    with pytest.raises(IdempotencyKeyReused):
        begin(session, **other)  # type: ignore[arg-type]  # one of the two


def test_route_and_body_do_not_run_into_each_other() -> None:
    assert idempotency.fingerprint("POST /a", b"b") != idempotency.fingerprint("POST /", b"ab")


@pytest.mark.parametrize("other", [{"scope": "u2"}, {"key": "k2"}])
def test_keys_are_the_callers_own(session: Session, other: dict[str, str]) -> None:
    begin(session)
    finish(session)
    assert begin(session, **other) is None  # type: ignore[arg-type]  # one of the two


def test_a_key_without_an_answer_is_in_use(session: Session) -> None:
    begin(session)
    with pytest.raises(IdempotencyKeyInUse):
        begin(session)


def test_fifty_at_once_do_the_work_once(clean_database: Database) -> None:
    with wide_engine(clean_database.url, 50) as engine:

        def request(_: int) -> StoredAnswer | None:
            with session_scope(engine) as session:
                stored = begin(session)
                if stored is None:
                    finish(session)
                return stored

        outcomes = together(50, request)
    assert outcomes.count(None) == 1
    assert outcomes.count(ANSWER) == 49


def test_a_key_whose_work_was_rolled_back_is_free(clean_database: Database) -> None:
    """The second request waits for the first, which fails, and does the work itself."""
    claimed, answers = threading.Event(), []

    def second() -> None:
        claimed.wait(10)
        with session_scope(clean_database.engine) as session:
            answers.append(begin(session))
            finish(session)

    waiting = threading.Thread(target=second)
    waiting.start()
    with Session(clean_database.engine) as first:
        begin(first)
        claimed.set()
        waiting.join(0.2)
        assert waiting.is_alive()
        first.rollback()
    waiting.join(10)
    assert answers == [None]
    with session_scope(clean_database.engine) as session:
        assert begin(session) == ANSWER


def test_a_later_answer_replaces_the_first_one_once(session: Session) -> None:
    begin(session)
    finish(session)
    for later in ("r1 active", "r1 completed"):
        answer = StoredAnswer(201, {"id": later})
        idempotency.replace(session, scope="u1", key="k", answer=answer, instead_of=ANSWER.status)
    assert begin(session) == StoredAnswer(201, {"id": "r1 active"})
    idempotency.replace(session, scope="u1", key="k", answer=ANSWER)
    assert begin(session) == ANSWER


def test_a_claim_under_a_savepoint_is_the_transactions_own(session: Session) -> None:
    with session.begin_nested():
        assert begin(session) is None
        finish(session)
    assert begin(session) == ANSWER


def test_keys_are_kept_for_a_day(session: Session) -> None:
    begin(session)
    finish(session)
    assert idempotency.forget_old(session, NOW + timedelta(hours=24)) == 0
    assert idempotency.forget_old(session, NOW + timedelta(hours=24, seconds=1)) == 1
    assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0
