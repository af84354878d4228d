from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import structlog

from fleet.common.clock import utc_now
from fleet.payments import janitor, methods, proof, webhooks
from fleet.payments.outgoing import money_out
from fleet.payments.providers import provider_from, sandbox
from fleet.payments.reconciliation import service as reconciliation
from fleet.registry import CHECKS
from workers.consumers import outside_consumer
from workers.context import engine, settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task

log = structlog.get_logger(__name__)

#: Posted one after the other; all of them must fit into a task's time.
_DELIVERIES = 20
_POST_TIMEOUT_S = 2.0


@outside_consumer("payments.apply_webhook")
def apply_webhook(payload: dict[str, Any], now: datetime) -> None:
    webhooks.process(transaction, payload["webhook_id"], provider_from(settings(), engine()), now)


@outside_consumer("payments.carry_out_authorization")
def carry_out_authorization(payload: dict[str, Any], now: datetime) -> None:
    """Take, or give back, what a rider's card has set aside."""
    janitor.carry_out(transaction, UUID(payload["intent_id"]), provider_from(settings(), engine()), now)


@outside_consumer("payments.send_money_out")
def send_money_out(payload: dict[str, Any], now: datetime) -> None:
    """A refund to a card, a payout."""
    money_out.send(transaction, UUID(payload["money_out_id"]), provider_from(settings(), engine()), now)


@task("payments.sweep_money_out", NEXT_TICK)
def sweep_money_out() -> int:
    """Refunds and payouts whose fate is not known."""
    return money_out.sweep(transaction, provider_from(settings(), engine()), utc_now())


@task("payments.reconcile", NEXT_TICK)
def reconcile() -> int:
    """Hold the day's payments against the provider's list; what differs waits for an operator."""
    found = reconciliation.run(transaction, provider_from(settings(), engine()), utc_now()).differences
    if found:
        log.error("payments_differ", differences=found)
    return found


@outside_consumer("payments.forget_method")
def forget_method(payload: dict[str, Any], _: datetime) -> None:
    methods.forget(transaction, UUID(payload["method_id"]), provider_from(settings(), engine()))


@task("payments.expire_intents", NEXT_TICK)
def expire_intents() -> int:
    """Payments that nobody confirmed, and money set aside for rentals that never began."""
    return janitor.expire(transaction, utc_now())


@task("payments.settle_unknown", NEXT_TICK)
def settle_unknown() -> int:
    """Ask the provider about payments whose outcome nobody knows."""
    return janitor.settle_unknown(transaction, provider_from(settings(), engine()), utc_now())


@task("payments.deliver_sandbox_webhooks", NEXT_TICK)
def deliver_sandbox_webhooks() -> int:
    """The sandbox provider's side: post what it owes us, as another company would, until it is answered."""
    if settings().payment_provider != sandbox.NAME:
        return 0
    with transaction() as session:
        secret = settings().sandbox_webhook_secret.get_secret_value()
        due = sandbox.due_deliveries(session, secret, utc_now(), limit=_DELIVERIES)
    if not due:
        return 0
    url = f"{settings().base_url}/api/v1/payment/webhook/{sandbox.NAME}"
    with httpx.Client(timeout=_POST_TIMEOUT_S) as client:
        return sum(_post(client, url, delivery) for delivery in due)


def _post(client: httpx.Client, url: str, delivery: sandbox.Delivery) -> bool:
    try:
        answer = client.post(url, content=delivery.body, headers=delivery.headers)
    except httpx.HTTPError as error:
        log.warning("webhook_not_delivered", delivery_id=str(delivery.id), error=str(error))
        return False
    if not answer.is_success:
        log.warning("webhook_refused", delivery_id=str(delivery.id), status=answer.status_code)
        return False
    with transaction() as session:
        sandbox.mark_delivered(session, delivery.id, utc_now())
    return True


class BooksAreWrong(Exception):
    """The proof found problems: the job has failed, its report is stored."""


@task("payments.prove_ledger", NEXT_TICK)
def prove_ledger() -> int:
    """Prove the books and keep the report; how many transfers were looked at."""
    with transaction() as session:
        found = proof.prove(session, utc_now(), CHECKS)
        proof.keep(session, found)
    for problem in found.problems:
        log.error("ledger_problem", problem=problem)
    log.info("ledger_proven", ok=found.ok, accounts=found.accounts, transfers=found.transfers)
    if not found.ok:
        raise BooksAreWrong(f"{len(found.problems)} problems, the first: {found.problems[0]}")
    return found.transfers
