"""Test cards, and what each makes the sandbox do (docs/payments.md). Their last four digits tell them apart."""

from datetime import timedelta
from enum import StrEnum

from fleet.payments.providers.base import ChargeStatus

#: How long something slow takes.
SLOW = timedelta(seconds=5)
#: How late a late webhook is.
LATE = timedelta(minutes=1)
#: How tokens of saved cards begin; they end with the card's last four digits.
TOKEN_PREFIX = "pm_"  # noqa: S105  # a name, not a secret


class Card(StrEnum):
    SUCCEEDS = "4242424242424242"
    DECLINED = "4000000000000002"
    INSUFFICIENT_FUNDS = "4000000000009995"
    EXPIRED = "4000000000000069"
    #: No answer; the charge was made.
    TIMEOUT_CHARGED = "4000000000001000"
    #: No answer; the charge was not made.
    TIMEOUT_NOT_CHARGED = "4000000000001018"
    #: Two different webhooks about one charge.
    ANSWERS_TWICE = "4000000000001026"
    #: Pending at first, succeeds after SLOW.
    SLOW = "4000000000001034"
    #: Pending for ever, no webhook.
    NEVER = "4000000000001042"
    #: Succeeds; its webhook comes LATE.
    LATE_WEBHOOK = "4000000000001067"
    #: The bank wants to see the rider first.
    REQUIRES_ACTION = "4000000000003220"
    #: Captured, but the answer is lost.
    CAPTURE_TIMEOUT = "4000000000001059"
    #: The authorization is gone when it is to be captured.
    LAPSES = "4000000000001091"
    #: The rider disputes it after SLOW.
    DISPUTED = "4000000000000259"
    #: Its refunds are pending, then fail.
    REFUND_FAILS = "4000000000005126"
    #: Its refunds are made, but the answer is lost.
    REFUND_TIMEOUT = "4000000000005134"
    #: Payouts to it: fail at once, come back after SLOW, are made without an answer, take SLOW.
    PAYOUT_FAILS = "4000000000000127"
    PAYOUT_RETURNED = "4000000000000135"
    PAYOUT_TIMEOUT = "4000000000000143"
    PAYOUT_SLOW = "4000000000000150"


FAILURES = {
    Card.DECLINED: "card_declined",
    Card.INSUFFICIENT_FUNDS: "insufficient_funds",
    Card.EXPIRED: "expired_card",
}
_BY_LAST4 = {card.value[-4:]: card for card in Card}


def card_of(method: str) -> Card | None:
    """The test card behind a number or a saved card's token; None: a card that nobody knows."""
    if method.startswith(TOKEN_PREFIX):
        return by_last4(method[-4:])
    number = method.replace(" ", "")
    return Card(number) if number in Card._value2member_map_ else None


def by_last4(last4: str) -> Card | None:
    return _BY_LAST4.get(last4)


def first_status(card: Card | None, *, capture_later: bool) -> tuple[ChargeStatus, str | None]:
    """What becomes of a new charge, and why it failed."""
    if card is None:
        return ChargeStatus.FAILED, "unknown_card"
    if card in FAILURES:
        return ChargeStatus.FAILED, FAILURES[card]
    if card in {Card.SLOW, Card.NEVER}:
        return ChargeStatus.PENDING, None
    if card is Card.REQUIRES_ACTION:
        return ChargeStatus.REQUIRES_ACTION, None
    return granted(capture_later=capture_later), None


def granted(*, capture_later: bool) -> ChargeStatus:
    return ChargeStatus.AUTHORIZED if capture_later else ChargeStatus.SUCCEEDED
