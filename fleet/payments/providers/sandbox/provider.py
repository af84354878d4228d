"""The sandbox's side of the counter: own books, own transactions, own clock."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.db import new_id, session_scope
from fleet.payments.errors import WebhookRefused
from fleet.payments.providers import signing
from fleet.payments.providers.base import (
    AccountOwner,
    ChargeOrder,
    ChargeStatus,
    DisputeStatus,
    MoveOrder,
    ObjectKind,
    OutcomeUnknown,
    ProviderAccount,
    ProviderCharge,
    ProviderEvent,
    ProviderMove,
    ProviderObject,
    ProviderRefused,
    SavedMethod,
)
from fleet.payments.providers.sandbox import moves
from fleet.payments.providers.sandbox.cards import (
    FAILURES,
    LATE,
    SLOW,
    TOKEN_PREFIX,
    Card,
    by_last4,
    card_of,
    first_status,
    granted,
)
from fleet.payments.providers.sandbox.deliveries import SIGNATURE_HEADER
from fleet.payments.providers.sandbox.models import SandboxCharge, SandboxDelivery, SandboxDispute, SandboxMove

NAME = "sandbox"
_TO_CARDS = "the sandbox pays out to saved cards"


class SandboxProvider:
    """`page_url`: where riders satisfy their bank, without the charge's reference at its end."""

    def __init__(
        self,
        engine: Engine,
        secret: str,
        clock: Callable[[], datetime] = utc_now,
        page_url: str = "http://127.0.0.1:8000/sandbox/pay/",
    ) -> None:
        self._engine = engine
        self._secret = secret.encode()
        self._clock = clock
        self._page_url = page_url

    @property
    def name(self) -> str:
        return NAME

    # Charges

    def authorize(self, order: ChargeOrder, method: str) -> ProviderCharge:
        card = card_of(method)
        if card is Card.TIMEOUT_NOT_CHARGED:
            raise OutcomeUnknown("the connection was lost")
        with session_scope(self._engine) as books:
            made = self._record(books, order, card, method[-4:])
            charge = self._as_ordered(books, order)
            if made and card is not Card.NEVER:
                due = self._clock() + LATE if card is Card.LATE_WEBHOOK else charge.settles_at or self._clock()
                for _ in range(2 if card is Card.ANSWERS_TWICE else 1):
                    self._announce(books, charge, due)
            found = self._public(charge)
        if card is Card.TIMEOUT_CHARGED:
            raise OutcomeUnknown("no answer in time")
        return found

    def _record(
        self, books: Session, order: ChargeOrder, card: Card | None, last4: str, *, cancelled: bool = False
    ) -> bool:
        """Note the charge unless there is one under its key; True when this call made it."""
        now = self._clock()
        status, failure = first_status(card, capture_later=order.capture_later)
        if cancelled:
            status, failure = ChargeStatus.CANCELLED, None
        reference = books.scalar(
            insert(SandboxCharge)
            .values(
                reference=f"ch_{new_id().hex}",
                idempotency_key=str(order.intent_id),
                amount_minor=order.amount_minor,
                currency=order.currency,
                metadata_={"intent_id": str(order.intent_id), "user_id": str(order.user_id)},
                card=last4,
                status=status,
                failure_code=failure,
                created_at=now,
                settles_at=now + SLOW if card is Card.SLOW and not cancelled else None,
                capture_later=order.capture_later,
                captured_minor=order.amount_minor if status is ChargeStatus.SUCCEEDED else None,
            )
            .on_conflict_do_nothing(index_elements=["idempotency_key"])
            .returning(SandboxCharge.reference)
        )
        if reference is not None and card is Card.DISPUTED and not cancelled:
            self._dispute_later(books, reference, order, now)
        return reference is not None

    def _dispute_later(self, books: Session, charge: str, order: ChargeOrder, now: datetime) -> None:
        dispute = SandboxDispute(
            reference=f"dp_{new_id().hex}", charge_reference=charge, amount_minor=order.amount_minor,
            currency=order.currency, reason="fraudulent", status=DisputeStatus.OPEN, created_at=now + SLOW,
        )  # fmt: skip
        books.add(dispute)
        self._tell(books, ObjectKind.DISPUTE, dispute.reference, "dispute.opened", now + SLOW)

    def _as_ordered(self, books: Session, order: ChargeOrder) -> SandboxCharge:
        """The charge under the order's key, locked and up to date. Raises ProviderRefused when it is another order."""
        query = select(SandboxCharge).where(SandboxCharge.idempotency_key == str(order.intent_id)).with_for_update()
        charge = books.scalars(query).one()
        self._settle(charge)
        if (charge.amount_minor, charge.currency) != (order.amount_minor, order.currency):
            raise ProviderRefused("this idempotency key was used for another charge")
        return charge

    def _settle(self, charge: SandboxCharge) -> None:
        due = charge.settles_at is not None and charge.settles_at <= self._clock()
        if charge.status == ChargeStatus.PENDING and due:
            self._grant(charge)

    @staticmethod
    def _grant(charge: SandboxCharge) -> None:
        charge.status = granted(capture_later=charge.capture_later)
        if not charge.capture_later:
            charge.captured_minor = charge.amount_minor

    def _announce(self, books: Session, charge: SandboxCharge, due: datetime) -> None:
        kind = {
            ChargeStatus.FAILED: "charge.failed",
            ChargeStatus.AUTHORIZED: "charge.authorized",
            ChargeStatus.REQUIRES_ACTION: "charge.requires_action",
            ChargeStatus.CANCELLED: "charge.cancelled",
        }.get(ChargeStatus(charge.status), "charge.succeeded")
        self._tell(books, ObjectKind.CHARGE, charge.reference, kind, due)

    @staticmethod
    def _tell(books: Session, about: ObjectKind, reference: str, kind: str, due: datetime) -> None:
        books.add(SandboxDelivery(about=about, reference=reference, kind=kind, due_at=due))

    def complete_action(self, reference: str, *, approved: bool) -> bool:
        """What the rider does on the bank's page; False when nothing waits for it."""
        with session_scope(self._engine) as books:
            charge = books.get(SandboxCharge, reference, with_for_update=True)
            if charge is None or charge.status != ChargeStatus.REQUIRES_ACTION:
                return False
            if approved:
                self._grant(charge)
            else:
                charge.status, charge.failure_code = ChargeStatus.FAILED, "authentication_failed"
            self._announce(books, charge, self._clock())
            return True

    def capture(self, order: ChargeOrder, amount_minor: int) -> ProviderCharge:
        with session_scope(self._engine) as books:
            charge = self._as_ordered(books, order)
            card = by_last4(charge.card)
            captured = charge.status == ChargeStatus.AUTHORIZED
            if captured and not 1 <= amount_minor <= charge.amount_minor:
                raise ProviderRefused("an amount outside the authorization")
            if captured and card is Card.LAPSES:
                charge.status = ChargeStatus.CANCELLED
            elif captured:
                charge.status, charge.captured_minor = ChargeStatus.SUCCEEDED, amount_minor
            if captured:
                self._announce(books, charge, self._clock())
            found = self._public(charge)
        if captured and card is Card.CAPTURE_TIMEOUT:
            raise OutcomeUnknown("no answer in time")
        return found

    def cancel(self, order: ChargeOrder) -> ProviderCharge:
        with session_scope(self._engine) as books:
            self._record(books, order, None, "", cancelled=True)
            charge = self._as_ordered(books, order)
            if charge.status in {ChargeStatus.PENDING, ChargeStatus.REQUIRES_ACTION, ChargeStatus.AUTHORIZED}:
                charge.status = ChargeStatus.CANCELLED
                self._announce(books, charge, self._clock())
            return self._public(charge)

    def find(self, order: ChargeOrder) -> ProviderCharge | None:
        return self._look(SandboxCharge.idempotency_key == str(order.intent_id))

    def _look(self, which: object) -> ProviderCharge | None:
        with session_scope(self._engine) as books:
            query = select(SandboxCharge).where(which).with_for_update()  # type: ignore[arg-type]  # a condition
            charge = books.scalars(query).one_or_none()
            if charge is None:
                return None
            self._settle(charge)
            return self._public(charge)

    def _public(self, charge: SandboxCharge) -> ProviderCharge:
        waits = charge.status == ChargeStatus.REQUIRES_ACTION
        return ProviderCharge(
            reference=charge.reference,
            status=ChargeStatus(charge.status),
            amount_minor=charge.amount_minor,
            currency=charge.currency,
            intent_id=UUID(charge.metadata_["intent_id"]),
            user_id=UUID(charge.metadata_["user_id"]),
            failure_code=charge.failure_code,
            captured_minor=charge.captured_minor,
            action_url=f"{self._page_url}{charge.reference}" if waits else None,
        )

    # Money back

    def refund(self, order: MoveOrder) -> ProviderMove:
        with session_scope(self._engine) as books:
            found, lost = moves.refund(books, order, self._clock())
        if lost:
            raise OutcomeUnknown("no answer in time")
        return found

    def payout(self, order: MoveOrder) -> ProviderMove:
        with session_scope(self._engine) as books:
            found, lost = moves.payout(books, order, self._clock())
        if lost:
            raise OutcomeUnknown("no answer in time")
        return found

    @property
    def pays_out_to_accounts(self) -> bool:
        return False

    def open_account(self, owner: AccountOwner) -> ProviderAccount:
        del owner
        raise ProviderRefused(_TO_CARDS, "no_accounts")

    def onboarding_link(self, reference: str, return_url: str) -> str:
        del reference, return_url
        raise ProviderRefused(_TO_CARDS, "no_accounts")

    def refund_at_desk(self, charge: str, amount_minor: int) -> str:
        """Somebody gives money back in the sandbox's own pages. For tests. Raises ProviderRefused."""
        with session_scope(self._engine) as books:
            return moves.refund_at_desk(books, charge, amount_minor, self._clock())

    def decide_dispute(self, reference: str, *, won: bool) -> None:
        """The rider's bank has decided. For tests and the sandbox's pages."""
        with session_scope(self._engine) as books:
            dispute = books.get_one(SandboxDispute, reference, with_for_update=True)
            dispute.status = DisputeStatus.WON if won else DisputeStatus.LOST
            self._tell(books, ObjectKind.DISPUTE, reference, "dispute.closed", self._clock())

    # Looking

    def fetch(self, about: ObjectKind, reference: str) -> ProviderObject | None:
        if about is ObjectKind.CHARGE:
            return self._look(SandboxCharge.reference == reference)
        with session_scope(self._engine) as books:
            if about is ObjectKind.DISPUTE:
                dispute = books.get(SandboxDispute, reference)
                return None if dispute is None else moves.public_dispute(dispute)
            move = books.get(SandboxMove, reference, with_for_update=True)
            return None if move is None else moves.public(move, self._clock())

    def listing(self, since: datetime, until: datetime) -> Iterator[ProviderObject]:
        with session_scope(self._engine) as books:
            for charge in books.scalars(
                select(SandboxCharge).where(SandboxCharge.created_at >= since, SandboxCharge.created_at < until)
            ):
                self._settle(charge)
                yield self._public(charge)
            for move in books.scalars(
                select(SandboxMove).where(SandboxMove.created_at >= since, SandboxMove.created_at < until)
            ):
                yield moves.public(move, self._clock())
            for dispute in books.scalars(
                select(SandboxDispute).where(SandboxDispute.created_at >= since, SandboxDispute.created_at < until)
            ):
                yield moves.public_dispute(dispute)

    # Saved cards

    def save_method(self, user_id: UUID, token: str, customer: str | None) -> SavedMethod:
        card = card_of(token)
        if card is None:
            raise ProviderRefused("no such card", "unknown_card")
        if card in FAILURES:
            raise ProviderRefused(f"it was refused ({FAILURES[card]})", FAILURES[card])
        last4 = card.value[-4:]
        return SavedMethod(
            token=f"{TOKEN_PREFIX}{new_id().hex}_{last4}", kind="card", brand="visa", last4=last4,
            customer=customer or f"cus_{user_id.hex}", expires_month=12, expires_year=self._clock().year + 3,
        )  # fmt: skip

    def forget_method(self, token: str) -> None:
        """The sandbox keeps nothing of a card, so there is nothing to forget."""

    def read_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        signing.verify(self._secret, body, headers.get(SIGNATURE_HEADER, ""), now)
        try:
            event = json.loads(body)
            data = event["data"]
            about = ObjectKind(data.get("object", ObjectKind.CHARGE))
            return ProviderEvent(str(event["id"]), str(event["type"]), str(data["reference"]), about)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WebhookRefused("the body is not an event") from error
