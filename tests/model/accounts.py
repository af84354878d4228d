"""Every rider's money, added up from what the card company took and gave back and what rentals cost by the model."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments import wallets
from fleet.payments.disputes.models import CardDispute
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.models import LedgerTransfer
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState
from fleet.payments.providers.base import ChargeStatus, DisputeStatus, MoveStatus, ObjectKind
from fleet.payments.providers.sandbox.models import SandboxCharge, SandboxMove
from fleet.rentals.models import OPEN_STATES, Rental
from tests.model.books import expected
from tests.model.points import points_of
from tests.model.taken import Taken
from tests.model.town import FUNDS, Town

_OVER: Final = {IntentState.SUCCEEDED, IntentState.FAILED, IntentState.CANCELLED}


class Accounts:
    def __init__(self, session: Session, town: Town, now: datetime) -> None:
        self._session = session
        self._town = town
        self._now = now
        self._taken = Taken(session, town)

    def check(self, rentals: Sequence[Rental]) -> None:
        """What came in, less what rentals and reservations cost, is there."""
        self._payments()
        came = self._came()
        for rider, funds in zip(self._town.riders, FUNDS, strict=True):
            own = [each for each in rentals if each.user_id == rider]
            spent = sum(self._paid(each) for each in own) - sum(points_of(self._session, [r.id for r in own]).values())
            spent += self._fees(rider) + self._taken.fees(rider)
            lost, aside = self._disputed(rider)
            balance = wallets.balance(self._session, wallets.wallet_of(self._session, rider, "EUR", self._now))
            assert balance.available_minor + balance.held_minor == funds + came[rider] - spent - lost
            if not any(each.state in OPEN_STATES for each in own):
                assert balance.held_minor == aside + self._on_the_way(rider) + self._taken.aside(rider)
            if any(each.due_minor for each in own):
                assert balance.available_minor == 0, "a debt, and money to pay it"

    def _paid(self, rental: Rental) -> int:
        if rental.state in OPEN_STATES:
            return 0
        deal = self._town.rentals[rental.id]
        return max(0, expected(rental, deal) - rental.due_minor - rental.written_off_minor - deal.refunded)

    def _fees(self, rider: UUID) -> int:
        """As checked one by one."""
        keys = [f"reservation:{each}:" for each, kept in self._town.kept.items() if kept.rider == rider]
        rows = self._session.scalars(select(LedgerTransfer).where(LedgerTransfer.kind == "reservation_fee"))
        return sum(each.posted_minor or 0 for each in rows if each.idempotency_key.startswith(tuple(keys)))

    def _came(self) -> Counter[UUID]:
        """By the card company's own books: what it took of whom, what it gave back, what it paid out."""
        riders = {str(rider): rider for rider in self._town.riders}
        came: Counter[UUID] = Counter()
        theirs = SandboxCharge.metadata_["user_id"].as_string()
        charges = select(SandboxCharge).where(SandboxCharge.status == ChargeStatus.SUCCEEDED, theirs.in_(riders))
        for charge in self._session.scalars(charges):
            came[riders[charge.metadata_["user_id"]]] += charge.captured_minor or 0
        outs = select(MoneyOut).where(MoneyOut.user_id.in_(self._town.riders))
        owners = {str(out.id): out.user_id for out in self._session.scalars(outs)}
        moves = select(SandboxMove).where(
            SandboxMove.status == MoveStatus.SUCCEEDED, SandboxMove.idempotency_key.in_(owners)
        )
        for move in self._session.scalars(moves):
            came[owners[str(move.idempotency_key)]] -= move.amount_minor
        return came

    def _payments(self) -> None:
        """Nothing is left in the air, and no card paid more than it was asked for."""
        for intent in self._session.scalars(select(PaymentIntent).where(PaymentIntent.user_id.in_(self._town.riders))):
            never = intent.state is IntentState.REQUIRES_CONFIRMATION and intent.id in self._town.top_ups
            under_way = intent.state is IntentState.AUTHORIZED and self._rides(intent)
            assert intent.state in _OVER or never or under_way, f"{intent.id} is {intent.state}"
            assert 0 <= (intent.captured_minor or 0) <= intent.amount_minor

    def _rides(self, intent: PaymentIntent) -> bool:
        if intent.rental_id is None:
            return False
        return self._session.get_one(Rental, intent.rental_id).state in OPEN_STATES

    def _disputed(self, rider: UUID) -> tuple[int, int]:
        """What a lost dispute took out of the wallet, and what an open one sets aside: never more than it is about."""
        lost = aside = 0
        for dispute in self._session.scalars(select(CardDispute).where(CardDispute.user_id == rider)):
            if dispute.recovery_id is None:
                continue
            recovered = self._session.get_one(LedgerTransfer, dispute.recovery_id).amount_minor
            assert recovered <= dispute.amount_minor
            lost += recovered if dispute.state is DisputeStatus.LOST else 0
            aside += recovered if dispute.state is DisputeStatus.OPEN else 0
        return lost, aside

    def _on_the_way(self, rider: UUID) -> int:
        """Going back to a card, and not there yet."""
        query = select(MoneyOut.amount_minor).where(
            MoneyOut.user_id == rider, MoneyOut.state == MoneyOutState.PENDING, MoneyOut.kind == ObjectKind.REFUND
        )
        return sum(self._session.scalars(query))
