"""The books themselves: accounts, their transfers, and the proofs that they are right."""

from uuid import UUID

from api.admin.money_schemas import AccountOut, Accounts, ProofOut, TransferOut
from api.auth import CurrentOperator
from api.deps import Now, RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Currency, Cursor, Limit, MoneyOut, Page
from api.v1 import area
from fleet.payments import ledger, proof, statements
from fleet.registry import CHECKS

router = area("admin", "admin")


@router.get(
    "/ledger/proof", operation_id="admin_prove_ledger", summary="Prove the books: totals, sums, currencies, top-ups",
    responses=problems(401, 403),
)  # fmt: skip
def prove(session: SessionDep, _: CurrentOperator, now: Now) -> ProofOut:
    """Reads every transfer. The nightly one is kept: `/admin/ledger/proofs`."""
    return ProofOut.model_validate(proof.prove(session, now, CHECKS))


@router.get(
    "/ledger/proofs", operation_id="admin_list_ledger_proofs", summary="Reports of the nightly proofs, newest first",
    responses=problems(401, 403),
)  # fmt: skip
def reports(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ProofOut]:
    rows = proof.reports(session, limit + 1, runtime.cursors.read("proofs", cursor))
    more = runtime.cursors.make("proofs", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[ProofOut.model_validate(row) for row in rows[:limit]], next=more)


@router.get(
    "/ledger/account", operation_id="admin_list_ledger_accounts", summary="The house's accounts, or somebody's",
    responses=problems(401, 403),
)  # fmt: skip
def accounts(
    session: SessionDep, _: CurrentOperator, owner_id: UUID | None = None, currency: Currency | None = None
) -> Accounts:
    """`owner_id`: a rider or a partner; left out: the house."""
    found = ledger.accounts_of(session, owner_id, currency)
    return Accounts(
        items=[
            AccountOut(
                id=row.id,
                kind=row.kind,
                owner_id=row.owner_id,
                balance=MoneyOut.of(ledger.totals_of(row).balance_minor, row.currency),
                held=MoneyOut.of(row.debits_pending, row.currency),
            )
            for row in found
        ]
    )


@router.get(
    "/ledger/account/{account_id}/transfer", operation_id="admin_list_ledger_transfers",
    summary="Transfers of an account, newest first", responses=problems(401, 403),
)  # fmt: skip
def transfers(
    account_id: UUID,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[TransferOut]:
    """Voided ones too."""
    before = runtime.cursors.read("transfers", cursor)
    rows = statements.transfers_of(session, account_id, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("transfers", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[TransferOut.of(row) for row in rows[:limit]], next=more)
