from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import adjustments, approvals, proof
from fleet.payments.adjustments import AdjustmentRequest
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.errors import AdjustmentNotFound, AlreadyDecided, InsufficientFunds, SecondPersonNeeded
from fleet.payments.models import AccountKind, WalletAdjustment
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS, add_rider, available

LIMIT = 500


def ask(
    session: Session, rider: UUID, minor: int, actor: UUID, *, at: timedelta = timedelta(0), reason: str = "goodwill"
) -> WalletAdjustment:
    wanted = AdjustmentRequest(rider, Money(minor, "EUR"), reason)
    return adjustments.request(session, wanted, actor_id=actor, limit_minor=LIMIT, now=NOW + at)


@pytest.fixture
def two(session: Session) -> tuple[UUID, UUID]:
    """Two operators."""
    return add_rider(session), add_rider(session)


def test_a_small_amount_is_given_and_taken_alone(session: Session, rider: UUID, two: tuple[UUID, UUID]) -> None:
    assert ask(session, rider, 300, two[0]).state is AdjustmentState.APPLIED
    assert ask(session, rider, -200, two[0]).state is AdjustmentState.APPLIED
    assert available(session, rider) == 1100


def test_a_large_amount_waits_for_somebody_else(session: Session, rider: UUID, two: tuple[UUID, UUID]) -> None:
    row = ask(session, rider, 501, two[0])
    assert (row.state, available(session, rider)) == (AdjustmentState.PENDING, 1000)
    with pytest.raises(SecondPersonNeeded):
        adjustments.approve(session, row.id, actor_id=two[0], note=None, now=NOW)
    for _ in range(2):
        assert adjustments.approve(session, row.id, actor_id=two[1], note="ok", now=NOW).decided_by == two[1]
    assert available(session, rider) == 1501


def test_a_large_amount_in_small_pieces_is_a_large_amount(
    session: Session, rider: UUID, two: tuple[UUID, UUID]
) -> None:
    """Whoever does it, and in whichever direction; what was agreed to does not count; a day later it is another day."""
    states = [ask(session, rider, minor, two[number % 2]).state for number, minor in enumerate((200, -200, 100, 1))]
    assert states == [*[AdjustmentState.APPLIED] * 3, AdjustmentState.PENDING]
    assert ask(session, rider, 500, two[0], at=approvals.WINDOW).state is AdjustmentState.APPLIED
    other = add_rider(session)
    assert ask(session, other, 500, two[0]).state is AdjustmentState.APPLIED


def test_what_was_refused_stays_refused(session: Session, rider: UUID, two: tuple[UUID, UUID]) -> None:
    row = ask(session, rider, 501, two[0])
    for _ in range(2):
        assert adjustments.reject(session, row.id, actor_id=two[0], note="typed wrong", now=NOW).note == "typed wrong"
    with pytest.raises(AlreadyDecided):
        adjustments.approve(session, row.id, actor_id=two[1], note=None, now=NOW)
    done = ask(session, rider, 1, two[0])
    with pytest.raises(AlreadyDecided):
        adjustments.reject(session, done.id, actor_id=two[1], note="late", now=NOW)
    with pytest.raises(AdjustmentNotFound):
        adjustments.approve(session, rider, actor_id=two[1], note=None, now=NOW)


def test_what_is_not_there_cannot_be_taken_even_by_two(session: Session, rider: UUID, two: tuple[UUID, UUID]) -> None:
    with pytest.raises(InsufficientFunds):
        ask(session, add_rider(session), -1, two[0])
    row = ask(session, rider, -1001, two[0])
    with pytest.raises(InsufficientFunds), session.begin_nested():
        adjustments.approve(session, row.id, actor_id=two[1], note=None, now=NOW)
    session.refresh(row)
    assert row.state is AdjustmentState.PENDING


@pytest.mark.parametrize(("minor", "reason", "field"), [(0, "why", "amount_minor"), (5, "  ", "reason")])
def test_an_adjustment_has_an_amount_and_a_reason(
    session: Session, rider: UUID, minor: int, reason: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(session, rider, minor, rider, reason=reason)
    assert caught.value.attributes["field"] == field


def test_house_accounts_are_not_adjusted(session: Session, rider: UUID) -> None:
    wanted = AdjustmentRequest(rider, Money(1, "EUR"), "why", AccountKind.REVENUE)
    with pytest.raises(InvalidInput):
        adjustments.request(session, wanted, actor_id=rider, limit_minor=LIMIT, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        "state = 'applied', decided_at = now(), transfer_id = :moved",
        "state = 'applied', decided_at = now(), transfer_id = :moved, decided_by = requested_by",
    ],
)
def test_the_database_alone_wants_two_people(
    session: Session, rider: UUID, two: tuple[UUID, UUID], change: str
) -> None:
    row = ask(session, rider, 501, two[0])
    with session.begin_nested():
        done = ask(session, add_rider(session), 1, two[0])
        moved = done.transfer_id
    session.execute(text("ALTER TABLE wallet_adjustment DROP CONSTRAINT uq_wallet_adjustment_transfer_id"))
    with pytest.raises(IntegrityError, match="four_eyes"), session.begin_nested():
        session.execute(text(f"UPDATE wallet_adjustment SET {change} WHERE id = :id"), {"moved": moved, "id": row.id})


def test_the_database_keeps_what_was_asked_and_decided(session: Session, rider: UUID, two: tuple[UUID, UUID]) -> None:
    waiting, done = ask(session, rider, 501, two[0]), ask(session, rider, 1, two[0])
    for row, change in ((waiting, "amount_minor = 1"), (waiting, "limit_minor = 1000"), (done, "note = 'x'")):
        with pytest.raises(IntegrityError, match="decided once"), session.begin_nested():
            session.execute(text(f"UPDATE wallet_adjustment SET {change} WHERE id = :id"), {"id": row.id})


def test_fifty_operators_at_once_pass_no_limit(books: Engine, committed_rider: UUID) -> None:
    def give(_: int) -> AdjustmentState:
        with session_scope(books) as session:
            return ask(session, committed_rider, 60, committed_rider).state

    assert together(THREADS, give).count(AdjustmentState.APPLIED) == LIMIT // 60
    with session_scope(books) as session:
        assert available(session, committed_rider) == 1000 + LIMIT // 60 * 60


def test_fifty_decisions_at_once_are_one(books: Engine, committed_rider: UUID) -> None:
    """Half agree, half refuse: one side wins, and the money moved once or never."""
    with session_scope(books) as session:
        other = add_rider(session)
        row = ask(session, committed_rider, 700, other).id

    def decide(number: int) -> AdjustmentState:
        with session_scope(books) as session:
            decision = adjustments.approve if number % 2 else adjustments.reject
            return decision(session, row, actor_id=committed_rider, note="seen", now=NOW).state

    outcomes = together(THREADS, decide)
    won = {outcome for outcome in outcomes if isinstance(outcome, AdjustmentState)}
    assert len(won) == 1
    assert all(isinstance(outcome, AdjustmentState | AlreadyDecided) for outcome in outcomes)
    with session_scope(books) as session:
        assert available(session, committed_rider) == (1700 if AdjustmentState.APPLIED in won else 1000)
        assert proof.prove(session, NOW).problems == ()
