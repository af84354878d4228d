"""A top-up whose webhook is on its way when a process dies: the card is charged once and the wallet gets it once."""

from contextlib import ExitStack

import pytest

from tests.system.clients import Rider
from tests.system.system import System
from tests.system.waiting import until

#: Cards of the sandbox (docs/payments.md).
_NO_ANSWER_BUT_CHARGED = "4000000000001000"
_ANSWERS_TWICE = "4000000000001026"


@pytest.mark.parametrize("target", ["worker", "redis", "relay", "postgres", "api", "beat"])
def test_a_webhook_survives(system: System, rider: Rider, target: str) -> None:
    with ExitStack() as held:
        with system.frozen("worker"):  # a confirmation needs the wallet too
            intent = _paid_without_an_answer(rider)
            held.enter_context(system.wallet_locked(rider.id))
        until(lambda: system.someone_waits_for_a_lock("worker"), "the webhook's task waits for the wallet")
        system.kill(target)
    system.restart(target)
    _is_credited_once(system, rider, intent)


@pytest.mark.parametrize("target", ["worker", "redis"])
def test_a_webhook_that_comes_twice(system: System, rider: Rider, target: str) -> None:
    with system.dead(target):
        made = rider.post("/payment/top-up", {"amount_minor": 1000, "currency": "EUR"})
        rider.post(f"/payment/top-up/{made['id']}/confirm", {"card": _ANSWERS_TWICE})
    _is_credited_once(system, rider, made["id"])


def _paid_without_an_answer(rider: Rider) -> str:
    """The provider has charged the card and its answer was lost: only the webhook knows."""
    made = rider.post("/payment/top-up", {"amount_minor": 1000, "currency": "EUR"})
    answer = rider.post_raw(f"/payment/top-up/{made['id']}/confirm", {"card": _NO_ANSWER_BUT_CHARGED})
    assert answer.is_success, answer.text
    assert answer.json()["state"] == "unknown"
    intent: str = made["id"]
    return intent


def _is_credited_once(system: System, rider: Rider, intent: str) -> None:
    until(lambda: rider.get(f"/payment/top-up/{intent}")["state"] == "succeeded", "the payment is known", 60)
    assert rider.wallet()["balance"]["amount_minor"] == 6000
    until(
        lambda: not system.scalar("SELECT count(*) FROM sandbox_delivery WHERE delivered_at IS NULL"),
        "every webhook is delivered",
        60,
    )
    assert rider.wallet()["balance"]["amount_minor"] == 6000
