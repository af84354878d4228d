"""The card company, and the workers between it and us: payments, webhooks, the outbox."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.common.money import Money
from fleet.common.outbox import claim_waiting, first_time, mark_dispatched
from fleet.payments import intents, janitor, topups, webhooks
from fleet.payments.outgoing import money_out
from fleet.payments.providers.base import DisputeStatus, OutcomeUnknown
from fleet.payments.providers.sandbox import Delivery, SandboxProvider, due_deliveries, mark_delivered
from fleet.payments.providers.sandbox.models import SandboxCharge, SandboxDispute
from fleet.rentals.closing.dues import collect_dues
from fleet.rentals.corrections import chargebacks
from fleet.rentals.starts import by_card
from fleet.rentals.starts.payment_plans import PaymentPlan
from tests.fleet.payments.saving import save_card
from tests.model.backend import POLICY, Backend
from workers.routes import ROUTES

SECRET: Final = "whsec_model"
_BATCH: Final = 500
#: Webhooks that somebody may send again.
_SEEN: Final = 5


class Till:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.provider = SandboxProvider(backend.engine, SECRET, lambda: backend.now)
        #: Webhooks that were received, newest last: others may have seen them too.
        self.received: list[Delivery] = []
        #: What the workers do with an event, in the transaction that notes it as done, or outside of one.
        self._inside: dict[str, Callable[[Session, dict[str, Any]], object]] = {
            "rentals.collect_dues": lambda session, it: collect_dues(session, UUID(it["user_id"]), backend.now),
            "rentals.follow_chargeback": lambda session, it: (
                it["rental_id"] is not None and chargebacks.follow(session, UUID(it["rental_id"]), backend.now)
            ),
            "rentals.start_paid": lambda session, it: by_card.start_paid(
                session, UUID(it["intent_id"]), backend.now, POLICY
            ),
        }
        self._outside: dict[str, Callable[[dict[str, Any]], object]] = {
            "payments.apply_webhook": lambda it: webhooks.process(
                backend.transaction, it["webhook_id"], self.provider, backend.now
            ),
            "payments.carry_out_authorization": lambda it: janitor.carry_out(
                backend.transaction, UUID(it["intent_id"]), self.provider, backend.now
            ),
            "payments.send_money_out": lambda it: money_out.send(
                backend.transaction, UUID(it["money_out_id"]), self.provider, backend.now
            ),
        }

    # Riders

    def top_up(self, rider: UUID, amount_minor: int) -> UUID:
        backend = self._backend
        with backend.transaction() as session:
            money = Money(amount_minor, "EUR")
            return topups.create_intent(session, user_id=rider, money=money, now=backend.now, provider=self.provider).id

    def ask_payment(
        self, rider: UUID, code: str, package: UUID | None, dies: int | None, pay: PaymentPlan
    ) -> UUID | FleetError | None:
        """A start answers with a payment."""
        backend = self._backend

        def work(session: Session) -> UUID | None:
            intent = by_card.ask_payment(
                session, user_id=rider, station_code=code, slot=None, package_id=package, provider=self.provider,
                now=backend.now, policy=POLICY, plan=pay,
            )  # fmt: skip
            return None if intent is None else intent.id

        return backend.once(rider, dies, work)

    def save_card(self, rider: UUID, card: str) -> UUID | FleetError:
        backend = self._backend
        return backend.ask(
            None,
            lambda: save_card(backend.transaction, rider, card, self.provider, backend.now).id,
        )

    def confirm(self, rider: UUID, intent_id: UUID, card: str, method: UUID | None, dies: int | None) -> None:
        backend = self._backend
        backend.ask(
            dies,
            lambda: intents.confirm(
                backend.transaction, intent_id=intent_id, user_id=rider, card=None if method else card,
                method_id=method, provider=self.provider, now=backend.now,
            ),
        )  # fmt: skip

    # Their banks

    def answer_bank(self, which: int, *, approved: bool) -> None:
        """A rider whose bank wants to see them goes there."""
        with self._backend.transaction() as session:
            waiting = list(
                session.scalars(
                    select(SandboxCharge.reference).where(SandboxCharge.status == "requires_action")
                    .order_by(SandboxCharge.reference)
                )
            )  # fmt: skip
        if waiting:
            self.provider.complete_action(waiting[which % len(waiting)], approved=approved)

    def decide_disputes(self, *, won: bool) -> None:
        with self._backend.transaction() as session:
            known = list(
                session.scalars(
                    select(SandboxDispute.reference).where(
                        SandboxDispute.status == DisputeStatus.OPEN, SandboxDispute.created_at <= self._backend.now
                    )
                )
            )
        for reference in known:
            self.provider.decide_dispute(reference, won=won)

    # Webhooks and workers

    def webhooks(self, times: int, seed: int, dies: int | None) -> None:
        """What is due arrives in any order, each `times` times, or is lost on the way and comes again."""
        backend = self._backend
        with backend.transaction() as session:
            due = due_deliveries(session, SECRET, backend.now, limit=_BATCH) * times
        Random(seed).shuffle(due)
        for delivery in due:
            received = partial(
                webhooks.receive, provider=self.provider, headers=delivery.headers, body=delivery.body,
                now=backend.now,
            )  # fmt: skip
            answer = backend.request(dies, lambda session, received=received: received(session) is None)  # type: ignore[misc]
            assert not isinstance(answer, FleetError), answer
            self.received = [*self.received, delivery][-_SEEN:]
            with backend.transaction() as session:
                mark_delivered(session, delivery.id, backend.now)

    def work(self, seed: int, dies: int | None) -> None:
        """The relay hands out what waits, in any order; some of it twice."""
        backend, rng = self._backend, Random(seed)
        with backend.transaction() as session:
            events = claim_waiting(session, _BATCH)
            mark_dispatched(session, [each.id for each in events], backend.now)
            work = [(each.id, task, each.payload) for each in events for task in ROUTES.get(each.name, ())]
        work += rng.choices(work, k=len(work) // 3) if work else []
        rng.shuffle(work)
        for event_id, task, payload in work:
            self._run(event_id, task, payload, dies)

    def _run(self, event_id: int, task: str, payload: dict[str, Any], dies: int | None) -> None:
        backend = self._backend

        def inside() -> None:
            with backend.transaction() as session:
                if first_time(session, event_id, task, backend.now):
                    self._inside[task](session, payload)

        if task in self._inside:
            backend.call(dies, inside)
        elif task in self._outside:
            self._ask_outside(task, payload, dies)

    def _ask_outside(self, task: str, payload: dict[str, Any], dies: int | None) -> None:
        """A provider that gives no answer is asked again, by a sweep if by nobody else."""
        for _ in range(2):
            try:
                self._backend.call(dies, lambda: self._outside[task](payload))
            except OutcomeUnknown:
                continue
            return

    def janitor(self, dies: int | None) -> None:
        backend = self._backend
        backend.call(dies, lambda: janitor.settle_unknown(backend.transaction, self.provider, backend.now, _BATCH))
        backend.call(dies, lambda: janitor.expire(backend.transaction, backend.now, _BATCH))
        backend.call(dies, lambda: money_out.sweep(backend.transaction, self.provider, backend.now, _BATCH))
