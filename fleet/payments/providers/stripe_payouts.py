"""Stripe's way of paying somebody out: a connected account, a transfer to it, and a payout from there to its bank.

The account pays out when we say so only, so that what became of our money is one question with one answer. A payout
that fails leaves the money on the connected account: the transfer is reversed before it counts as failed.
https://docs.stripe.com/connect/express-accounts, https://docs.stripe.com/connect/manual-payouts
"""

from collections.abc import Iterator
from typing import Final

import stripe
from stripe.params import AccountCreateParams

from fleet.payments.providers.base import (
    AccountOwner,
    AccountStatus,
    MoveOrder,
    MoveStatus,
    ObjectKind,
    ProviderAccount,
    ProviderMove,
    ProviderRefused,
)
from fleet.payments.providers.stripe_objects import amount_for, id_of, kept, minor_of

#: What Stripe calls a payout that will not arrive.
_FAILED: Final = frozenset({"failed", "canceled"})
_NO_ACCOUNT: Final = "no_such_account"


class StripePayouts:
    """Every call may raise the library's errors: the provider says them in our words."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._v1 = client.v1

    # Accounts

    def open_account(self, owner: AccountOwner) -> ProviderAccount:
        """Once for an owner and a day; what is made twice after that has nobody's details and gets no money."""
        params: AccountCreateParams = {
            "type": "express",
            "country": owner.country,
            "capabilities": {"transfers": {"requested": True}},
            "settings": {"payouts": {"schedule": {"interval": "manual"}}},
            "metadata": {"owner_id": str(owner.id)},
        }
        if owner.email:
            params["email"] = owner.email
        made = self._v1.accounts.create(params, {"idempotency_key": f"account:{owner.id}"})
        return account_of(made)

    def onboarding_link(self, reference: str, return_url: str) -> str:
        link = self._v1.account_links.create(
            {
                "account": reference,
                "type": "account_onboarding",
                "return_url": return_url,
                "refresh_url": return_url,
            }
        )
        return link.url

    def account(self, reference: str) -> ProviderAccount:
        return account_of(self._v1.accounts.retrieve(reference))

    # Money

    def pay_out(self, order: MoveOrder) -> ProviderMove:
        """Transfer and payout, each once for the order. Both are looked for before they are made: keys are forgotten
        after a day.
        """
        if not order.to.startswith("acct_"):
            raise ProviderRefused("Stripe pays out to connected accounts only", _NO_ACCOUNT)
        group = f"withdrawal:{order.id}"
        found = self._v1.transfers.list({"transfer_group": group}).data
        transfer = found[0] if found else self._transfer(order, group)
        payout = None if transfer.reversed else self._payout_of(transfer)
        if payout is None and not transfer.reversed:
            payout = self._begin(order, transfer)
        return self._move(transfer, payout)

    def _transfer(self, order: MoveOrder, group: str) -> stripe.Transfer:
        return self._v1.transfers.create(
            {
                "amount": amount_for(order.amount_minor, order.currency),
                "currency": order.currency.lower(),
                "destination": order.to,
                "transfer_group": group,
                "metadata": {"withdrawal_id": str(order.id), "user_id": str(order.user_id)},
            },
            {"idempotency_key": group},
        )

    def _begin(self, order: MoveOrder, transfer: stripe.Transfer) -> stripe.Payout | None:
        """None: the account cannot be paid out; the transfer is taken back."""
        try:
            return self._v1.payouts.create(
                {
                    "amount": amount_for(order.amount_minor, order.currency),
                    "currency": order.currency.lower(),
                    "metadata": {"withdrawal_id": str(order.id), "transfer": transfer.id},
                },
                {"idempotency_key": f"payout:{order.id}", "stripe_account": order.to},
            )
        except stripe.InvalidRequestError:
            self._take_back(transfer)
            return None

    def _take_back(self, transfer: stripe.Transfer) -> None:
        self._v1.transfers.reversals.create(transfer.id, {}, {"idempotency_key": f"reverse:{transfer.id}"})
        transfer.reversed = True

    def _payout_of(self, transfer: stripe.Transfer) -> stripe.Payout | None:
        """The payout that carries the transfer on."""
        made = self._v1.payouts.list(
            {"created": {"gte": transfer.created}, "limit": 100}, {"stripe_account": _account(transfer)}
        )
        own = (one for one in made.auto_paging_iter() if kept(one.metadata, "transfer") == transfer.id)
        return next(own, None)

    def find(self, reference: str) -> ProviderMove:
        """By the transfer's reference."""
        return self._as_it_is(self._v1.transfers.retrieve(reference))

    def listing(self, first: int, last: int) -> Iterator[ProviderMove]:
        made = self._v1.transfers.list({"created": {"gte": first, "lt": last}, "limit": 100})
        for transfer in made.auto_paging_iter():
            yield self._as_it_is(transfer)

    def _as_it_is(self, transfer: stripe.Transfer) -> ProviderMove:
        return self._move(transfer, None if transfer.reversed else self._payout_of(transfer))

    def _move(self, transfer: stripe.Transfer, payout: stripe.Payout | None) -> ProviderMove:
        if payout is not None and payout.status in _FAILED and not transfer.reversed:
            self._take_back(transfer)
        return move_of(transfer, payout)


def _account(transfer: stripe.Transfer) -> str:
    return str(transfer.destination)


def move_of(transfer: stripe.Transfer, payout: stripe.Payout | None) -> ProviderMove:
    """SUCCEEDED once the payout is paid; FAILED once our money is back."""
    currency = transfer.currency.upper()
    status, failure = MoveStatus.PENDING, None
    if transfer.reversed:
        status, failure = MoveStatus.FAILED, (payout.failure_code if payout is not None else None) or "reversed"
    elif payout is not None and payout.status == "paid":
        status = MoveStatus.SUCCEEDED
    return ProviderMove(
        kind=ObjectKind.PAYOUT,
        reference=transfer.id,
        status=status,
        amount_minor=minor_of(transfer.amount, currency),
        currency=currency,
        id=id_of(transfer.metadata, "withdrawal_id"),
        failure_code=failure,
    )


def account_of(account: stripe.Account) -> ProviderAccount:
    """ENABLED: transfers come in and payouts go out."""
    capabilities, requirements = account.capabilities, account.requirements
    may = account.payouts_enabled and capabilities is not None and capabilities.transfers == "active"
    refused = requirements is not None and (requirements.disabled_reason or "").startswith("rejected")
    status = AccountStatus.ENABLED if may else AccountStatus.PENDING
    return ProviderAccount(
        reference=account.id,
        status=AccountStatus.REFUSED if refused else status,
        owner_id=id_of(account.metadata, "owner_id"),
        missing=tuple((requirements.currently_due if requirements is not None else None) or ()),
    )
