"""Where riders pay what they owe, and take money out of their wallets; and what operators decide about both."""

from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.common.money import Money
from fleet.payments.approval_models import AdjustmentState
from fleet.payments.debts import write_offs
from fleet.payments.outgoing import withdrawals
from fleet.payments.providers.base import PaymentProvider
from fleet.rentals.closing import dues
from fleet.rentals.starts import checks
from fleet.rentals.starts.queries import standing_of
from tests.model.backend import Backend

#: What an operator may give up alone for one rider in a day.
ALONE: Final = 250


def collect(backend: Backend, provider: PaymentProvider, dies: int | None) -> None:
    """The beat starts it; one that dies is followed by the next."""
    backend.call(dies, lambda: dues.collect_by_card(backend.transaction, provider, backend.now, limit=500))
    if dies is not None:
        backend.call(None, lambda: dues.collect_by_card(backend.transaction, provider, backend.now, limit=500))


def pay_debt(
    backend: Backend,
    provider: PaymentProvider,
    rider: UUID,
    debt_id: UUID,
    card: str,
    method: UUID | None,
    dies: int | None,
) -> object:
    """What was refused, if it was."""
    return backend.ask(
        dies,
        lambda: dues.pay_by_card(
            backend.transaction, user_id=rider, debt_id=debt_id, provider=provider, now=backend.now,
            method_id=method, card=None if method else card,
        ),
    )  # fmt: skip


def give_up(backend: Backend, who: UUID, debt_id: UUID, dies: int | None) -> UUID | FleetError | None:
    return backend.once(
        who,
        dies,
        lambda session: (
            dues.write_off(session, debt_id, reason="model", actor_id=who, limit_minor=ALONE, now=backend.now).id
        ),
    )


def agree(backend: Backend, who: UUID, write_off_id: UUID, dies: int | None, *, agreed: bool) -> FleetError | None:
    """A second operator does, or does not."""

    def work(session: Session) -> None:
        if agreed:
            dues.approve_write_off(session, write_off_id, actor_id=who, note=None, now=backend.now)
        else:
            write_offs.reject(session, write_off_id, actor_id=who, note="model", now=backend.now)

    return backend.request(dies, work)


def write_off_state(backend: Backend, write_off_id: UUID) -> AdjustmentState:
    with backend.transaction() as session:
        return write_offs.write_off_of(session, write_off_id).state


def withdraw(
    backend: Backend, rider: UUID, method: UUID, amount_minor: int, dies: int | None
) -> UUID | FleetError | None:
    """As the API does it: nothing while money is owed."""

    def work(session: Session) -> UUID:
        money = Money(amount_minor, "EUR")
        asked = withdrawals.request(session, user_id=rider, method_id=method, money=money, now=backend.now)
        checks.check_debts(standing_of(session, rider))
        return asked.id

    return backend.once(rider, dies, work)


def cancel_withdrawal(backend: Backend, rider: UUID, withdrawal_id: UUID, dies: int | None) -> FleetError | None:
    def work(session: Session) -> UUID:
        return withdrawals.cancel(session, user_id=rider, withdrawal_id=withdrawal_id, now=backend.now).id

    answer = backend.once(rider, dies, work)
    return answer if isinstance(answer, FleetError) else None


def decide_withdrawal(
    backend: Backend, who: UUID, withdrawal_id: UUID, dies: int | None, *, approved: bool
) -> FleetError | None:
    def work(session: Session) -> UUID:
        if approved:
            return withdrawals.approve(session, withdrawal_id, approver_id=who, now=backend.now).id
        return withdrawals.reject(session, withdrawal_id, approver_id=who, note="model", now=backend.now).id

    answer = backend.once(who, dies, work)
    return answer if isinstance(answer, FleetError) else None
