"""Accounts at the provider that payouts go to: opened once for an owner, and what the provider says of them.

The provider is called between transactions. Whether money may go there is asked of the row, which webhooks keep, and
again of the provider by the payout itself.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.payments.errors import (
    PayoutAccountNotFound,
    PayoutAccountNotReady,
    PayoutAccountRefused,
    PayoutAccountsNotOffered,
    ProviderUnavailable,
)
from fleet.payments.outgoing.models import OwnerKind, PayoutAccount
from fleet.payments.providers.base import (
    AccountOwner,
    AccountStatus,
    ObjectKind,
    OutcomeUnknown,
    PaymentProvider,
    ProviderAccount,
    ProviderRefused,
)
from fleet.payments.transactions import Transactions


@dataclass(frozen=True, slots=True)
class Onboarding:
    """`url`: the provider's page where the owner says who they are; None when it wants to know nothing more."""

    account: PayoutAccount
    url: str | None


def onboard(
    transactions: Transactions,
    kind: OwnerKind,
    owner: AccountOwner,
    provider: PaymentProvider,
    *,
    return_url: str,
    now: datetime,
) -> Onboarding:
    """The owner's account, opened if need be, as the provider has it now. Again is the same account.

    Raises PayoutAccountsNotOffered, PayoutAccountRefused (nothing was opened), ProviderUnavailable.
    """
    if not provider.pays_out_to_accounts:
        raise PayoutAccountsNotOffered("payouts do not go to accounts here", provider=provider.name)
    with transactions() as session:
        known = _account(session, owner.id, provider.name)
        reference = None if known is None else known.provider_reference
    try:
        found = provider.open_account(owner) if reference is None else provider.fetch(ObjectKind.ACCOUNT, reference)
        if not isinstance(found, ProviderAccount):
            raise PayoutAccountRefused("the provider does not know this account any more", reason="gone")
        with transactions() as session:
            account = _keep(session, kind, owner.id, provider=provider.name, found=found, now=now)
        enabled = account.state is AccountStatus.ENABLED
        url = None if enabled else provider.onboarding_link(account.provider_reference, return_url)
    except ProviderRefused as error:
        raise PayoutAccountRefused(f"the account was refused: {error}", reason=error.code) from error
    except OutcomeUnknown as error:
        raise ProviderUnavailable("the payment provider does not answer; try again") from error
    return Onboarding(account, url)


def _account(session: Session, owner_id: UUID, provider: str) -> PayoutAccount | None:
    query = select(PayoutAccount).where(PayoutAccount.owner_id == owner_id, PayoutAccount.provider == provider)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _keep(
    session: Session, kind: OwnerKind, owner_id: UUID, *, provider: str, found: ProviderAccount, now: datetime
) -> PayoutAccount:
    """One account each: whoever opened a second one at the same time goes on with the first."""
    session.execute(
        insert(PayoutAccount)
        .values(
            owner_id=owner_id, owner_kind=kind, provider=provider, provider_reference=found.reference,
            state=found.status, missing=list(found.missing), created_at=now, updated_at=now,
        )
        .on_conflict_do_nothing(index_elements=["owner_id", "provider"])
    )  # fmt: skip
    account = _account(session, owner_id, provider)
    assert account is not None
    if account.provider_reference == found.reference:
        _update(account, found, now)
    session.flush()  # the caller reads it after the transaction
    return account


def _update(account: PayoutAccount, found: ProviderAccount, now: datetime) -> None:
    account.state, account.missing, account.updated_at = found.status, list(found.missing), now


def apply_account(session: Session, provider: str, found: ProviderAccount, now: datetime) -> None:
    """Make ours what the provider's account says. Raises NotFound when it is nobody's."""
    query = select(PayoutAccount).where(
        PayoutAccount.provider == provider, PayoutAccount.provider_reference == found.reference
    )
    account = session.scalars(query.with_for_update()).one_or_none()
    if account is None:
        raise NotFound("the provider has no such object of ours")
    _update(account, found, now)


def account_of(session: Session, owner_id: UUID, provider: str) -> PayoutAccount:
    """Raises PayoutAccountNotFound."""
    account = _account(session, owner_id, provider)
    if account is None:
        raise PayoutAccountNotFound("there is no account for payouts yet")
    return account


def ready(session: Session, owner_id: UUID, provider: str) -> PayoutAccount:
    """The account, if money may go there. Raises PayoutAccountNotFound, PayoutAccountNotReady."""
    account = account_of(session, owner_id, provider)
    if account.state is not AccountStatus.ENABLED:
        raise PayoutAccountNotReady(
            f"the account for payouts is {account.state}", state=account.state, missing=list(account.missing)
        )
    return account
