from uuid import UUID

from fastapi import Response

from api.auth import CurrentAccount, CurrentUser
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent, IdempotentIfKeyed
from api.paging import DEFAULT_LIMIT
from api.payments.money_out_schemas import WithdrawalIn, WithdrawalOut
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.payments.outgoing import queries, withdrawals
from fleet.rentals.starts import checks
from fleet.rentals.starts.queries import standing_of

router = area("payment", "payments")


@router.post("/withdrawal", operation_id="request_withdrawal", summary="Take money out of my wallet", status_code=201,
             response_model=WithdrawalOut, responses=problems(401, 402, 403, 404, 409))  # fmt: skip
def request_withdrawal(
    body: WithdrawalIn, session: SessionDep, runtime: RuntimeDep, user: CurrentAccount, now: Now, once: Idempotent
) -> Response:
    """Reserved at once, paid out when somebody has agreed. Where it is offered: `payments.withdrawals` of the public
    configuration. Bonus money is not paid out, and nothing while money is owed. To a saved method, or to my account
    for payouts (`/payment/payout-account`), as the payment provider has it.
    """

    def work() -> WithdrawalOut:
        withdrawal = withdrawals.request(
            session, user_id=user.id, method_id=body.method_id, money=body.money(), now=now, provider=runtime.provider
        )
        # Behind the wallet's lock, where debts of rentals are made.
        checks.check_debts(standing_of(session, user.id))
        return WithdrawalOut.of(withdrawal)

    return once.answer(session, now, work, status=201)


@router.get("/withdrawal", operation_id="list_withdrawals", summary="My withdrawals, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_withdrawals(
    session: SessionDep, runtime: RuntimeDep, user: CurrentUser, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[WithdrawalOut]:
    before = runtime.cursors.read("withdrawals", cursor)
    rows = queries.find_withdrawals(session, limit=limit + 1, before=UUID(before) if before else None, user_id=user.id)
    more = runtime.cursors.make("withdrawals", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[WithdrawalOut.of(row) for row in rows[:limit]], next=more)


@router.post("/withdrawal/{withdrawal_id}/cancel", operation_id="cancel_withdrawal", summary="Leave it in my wallet",
             response_model=WithdrawalOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def cancel_withdrawal(
    withdrawal_id: UUID, session: SessionDep, user: CurrentUser, now: Now, once: IdempotentIfKeyed
) -> Response:
    """Before somebody has decided."""

    def work() -> WithdrawalOut:
        return WithdrawalOut.of(withdrawals.cancel(session, user_id=user.id, withdrawal_id=withdrawal_id, now=now))

    return once.answer(session, now, work)
