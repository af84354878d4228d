"""Whatever is done in whatever order: the database agrees with a ledger of forty lines of Python."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import holds, ledger, proof, wallets
from fleet.payments.errors import InsufficientFunds, RefundTooLarge, TransferKeyReused, TransferSettled
from fleet.payments.holds import CaptureResult
from fleet.payments.models import AccountKind
from tests.fleet.payments.conftest import NOW, add_rider, hold_for_rental

RIDERS = 2
RENTALS = 3

amounts = st.integers(1, 600)
rentals = st.integers(0, RENTALS - 1)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("adjust"), st.integers(0, RIDERS - 1), st.integers(-400, 400).filter(bool)),
        st.tuples(st.just("hold"), rentals, amounts),
        st.tuples(st.just("release"), rentals, st.none()),
        st.tuples(st.just("capture"), rentals, st.lists(st.integers(0, 500), min_size=2, max_size=2)),
        st.tuples(st.just("refund"), rentals, amounts),
    ),
    max_size=15,
)


@dataclass
class Model:
    """What the ledger ought to be, without a database."""

    money: Counter[int] = field(default_factory=Counter)
    held: dict[int, int] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    charged: Counter[int] = field(default_factory=Counter)
    refunded: Counter[int] = field(default_factory=Counter)

    def available(self, rider: int) -> int:
        return self.money[rider] - sum(minor for rental, minor in self.held.items() if rental % RIDERS == rider)

    def capture(self, rental: int, total: int) -> CaptureResult:
        if not self.charged[rental]:
            held = self.held.pop(rental, None)
            if held is not None:
                self.settled.add(rental)
            self.charged[rental] = min(total, self.available(rental % RIDERS))
            self.money[rental % RIDERS] -= self.charged[rental]
        return CaptureResult(self.charged[rental], total - self.charged[rental])


class Books:
    """The same operations on the real thing."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.riders = [add_rider(session) for _ in range(RIDERS)]
        self.rentals = [new_id() for _ in range(RENTALS)]
        self.holds: dict[int, UUID] = {}
        self.model = Model()
        self.steps = 0

    def run(self, operation: str, which: int, argument: Any) -> None:
        self.steps += 1
        getattr(self, f"_{operation}")(which, argument)

    def _adjust(self, rider: int, minor: int) -> None:
        refused = self.model.available(rider) + minor < 0
        try:
            wallets.adjust(
                self.session, user_id=self.riders[rider], money=Money(minor, "EUR"), reason="x",
                actor_id=self.riders[0], key=str(self.steps), now=NOW,
            )  # fmt: skip
        except InsufficientFunds:
            assert refused
        else:
            assert not refused
            self.model.money[rider] += minor

    def _hold(self, rental: int, minor: int) -> None:
        if rental in self.holds:
            return  # a rental has one hold
        rider = rental % RIDERS
        refused = self.model.available(rider) < minor
        try:
            self.holds[rental] = hold_for_rental(
                self.session, user_id=self.riders[rider], rental_id=self.rentals[rental], money=Money(minor, "EUR"),
                now=NOW,
            ).id  # fmt: skip
        except InsufficientFunds:
            assert refused
        else:
            assert not refused
            self.model.held[rental] = minor

    def _release(self, rental: int, _: None) -> None:
        if rental not in self.holds:
            return
        try:
            ledger.void(self.session, self.holds[rental], NOW)
        except TransferSettled:
            assert self.model.charged[rental]
        else:
            self.model.held.pop(rental, None)

    def _capture(self, rental: int, parts: list[int]) -> None:
        kinds = (AccountKind.UNLOCK_FEES, AccountKind.REVENUE)
        try:
            result = holds.capture_for_rental(
                self.session, hold_id=self.holds.get(rental), rental_id=self.rentals[rental],
                user_id=self.riders[rental % RIDERS],
                parts=[(kind, Money(minor, "EUR")) for kind, minor in zip(kinds, parts, strict=True)], now=NOW,
            )  # fmt: skip
        except TransferKeyReused:
            assert self.model.charged[rental] > sum(parts)
        else:
            assert result == self.model.capture(rental, sum(parts))

    def _refund(self, rental: int, minor: int) -> None:
        left = self.model.charged[rental] - self.model.refunded[rental]
        if not self.model.charged[rental]:
            return
        try:
            holds.refund_rental(
                self.session, rental_id=self.rentals[rental], money=Money(minor, "EUR"), reason="x",
                key=str(self.steps), now=NOW,
            )  # fmt: skip
        except RefundTooLarge:
            assert minor > left
        else:
            assert minor <= left
            self.model.refunded[rental] += minor
            self.model.money[rental % RIDERS] += minor

    def check(self) -> None:
        for number, rider in enumerate(self.riders):
            balance = wallets.balance(self.session, wallets.wallet_of(self.session, rider, "EUR", NOW))
            assert balance.posted_minor == self.model.money[number]
            assert balance.available_minor == self.model.available(number) >= 0
        proved = proof.prove(self.session, NOW)
        assert proved.problems == ()
        house = ledger.house_accounts(self.session, "EUR", NOW)
        earned = sum(
            ledger.totals(self.session, house[kind]).balance_minor
            for kind in (AccountKind.UNLOCK_FEES, AccountKind.REVENUE)
        )
        assert earned == self.model.charged.total()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations)
def test_the_ledger_agrees_with_its_model(engine: Engine, steps: list[tuple[str, int, Any]]) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            books = Books(session)
            for step in steps:
                books.run(*step)
            books.check()
        transaction.rollback()
