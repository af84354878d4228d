"""The trace says why money moved, or did not."""

import re

from sqlalchemy.orm import Session

from fleet.payments.outgoing import refunds
from fleet.rentals.closing import dues
from fleet.rentals.corrections.disputes import decide, open_dispute
from fleet.rentals.corrections.models import DisputeReason
from fleet.rentals.corrections.service import Act
from fleet.rentals.models import Rental
from fleet.rentals.records.trace import trace
from fleet.users.audit import Actor
from tests.factories import add_rider, give_money
from tests.fleet.rentals.world import HOUR, MINUTE, World

BOSS = Actor(console="root")


def told(session: Session, rental: Rental, kind: str) -> list[str]:
    session.flush()
    summaries = [entry.summary for entry in trace(session, rental.id) if entry.kind == kind]
    return [re.sub(r"^(invoice|credit) \d+ ", r"\1 ", each) for each in summaries]


def test_a_debt_and_what_became_of_it(world: World) -> None:
    poor = add_rider(world.session, world.now, 500)
    rental = world.rent(rider=poor)
    world.later(10 * HOUR)
    world.inserted("B", 1, "A1")
    assert told(world.session, rental, "payment") == ["6.00 EUR owed", "invoice of 11.00 EUR"]
    world.later(HOUR)
    give_money(world.session, poor, world.now, 600)
    dues.collect_dues(world.session, poor, world.now)
    assert told(world.session, rental, "payment")[2:] == ["debt paid"]


def test_a_refund_and_a_dispute_with_their_words(world: World) -> None:
    rental = world.rent()
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    boss = add_rider(world.session, world.now, 0)
    world.later(MINUTE)
    for approve in (False, True):
        asked = refunds.request_for_rental(
            world.session, rental_id=rental.id, user_id=rental.user_id, requested_by=rental.user_id, amount_minor=50,
            reason="broken cable", now=world.now,
        )  # fmt: skip
        world.later(MINUTE)
        if approve:
            refunds.approve(world.session, asked.id, approver_id=boss, now=world.now)
        else:
            refunds.reject(world.session, asked.id, approver_id=boss, note="which one?", now=world.now)
        world.later(MINUTE)
    open_dispute(
        world.session, user_id=rental.user_id, rental_id=rental.id, reason=DisputeReason.OVERCHARGED,
        note="it was full", policy=world.policy, now=world.now,
    )  # fmt: skip
    world.later(MINUTE)
    decide(Act(world.session, rental.id, "it was not", BOSS, world.now), 0)
    assert told(world.session, rental, "payment") == [
        "invoice of 2.00 EUR",
        "refund of 0.50 EUR asked for",
        "refund of 0.50 EUR rejected",
        "refund of 0.50 EUR asked for",
        "refund of 0.50 EUR approved",
        "credit of -0.50 EUR",
    ]
    assert told(world.session, rental, "report") == [
        "rider disputes the price: overcharged",
        "dispute rejected: it was not",
    ]
