from uuid import UUID

from fastapi import Response

from api.admin.acts import ActsDep
from api.admin.schemas import AdjustIn, AdjustOut, ProofOut
from api.auth import CurrentOperator
from api.deps import Now, SessionDep
from api.idempotency import Idempotent
from api.payments.schemas import StatementLineOut, WalletOut
from api.problems import problems
from api.v1 import area
from fleet.common.money import Money
from fleet.payments import wallets
from fleet.payments.proof import prove
from fleet.users.service import get_user

router = area("admin", "admin")


@router.post(
    "/user/{user_id}/wallet/adjust", operation_id="admin_adjust_wallet", summary="Give a rider money, or take it",
    response_model=AdjustOut, responses=problems(401, 402, 403, 404, 409),
)  # fmt: skip
def adjust(user_id: UUID, body: AdjustIn, acts: ActsDep, once: Idempotent) -> Response:
    """With a reason, which the rider's statement does not show. Never takes what the rider cannot spend."""

    def work() -> AdjustOut:
        get_user(acts.session, user_id)
        moved = wallets.adjust(
            acts.session,
            user_id=user_id,
            money=Money(body.amount_minor, body.currency),
            reason=body.reason,
            actor_id=acts.operator.id,
            # One effect per key is the promise of `once`, for 24 h; the ledger never forgets and would swallow it.
            key=f"{acts.operator.id}:{acts.now.isoformat()}:{once.key}",
            now=acts.now,
        )
        acts.record("wallet.adjust", user_id=user_id, detail=body.model_dump(mode="json"))
        wallet = wallets.wallet_of(acts.session, user_id, body.currency, acts.now)
        line = wallets.line_of(moved, wallet.account_id)
        return AdjustOut(line=StatementLineOut.of(line), wallet=WalletOut.of(wallets.balance(acts.session, wallet)))

    return once.answer(acts.session, acts.now, work)


@router.get(
    "/ledger/proof", operation_id="admin_prove_ledger", summary="Prove the books: totals, sums, currencies, top-ups",
    responses=problems(401, 403),
)  # fmt: skip
def proof(session: SessionDep, _: CurrentOperator, now: Now) -> ProofOut:
    """Reads every transfer."""
    return ProofOut.model_validate(prove(session, now))
