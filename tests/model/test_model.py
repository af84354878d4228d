"""Riders, cabinets, cards, operators, the clock and deaths at random, against a small sequential model of the world.

`VOLTBAY_MODEL_EXAMPLES` asks for more examples than the suite runs, `VOLTBAY_MODEL_SEED` for other ones; a failure
prints the steps that lead to it, `-o log_cli=true -o log_cli_level=INFO` what a run came to.
"""

import logging
import os
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from fleet.common.models import Country
from fleet.config import service as config
from fleet.db import session_scope
from fleet.payments.outgoing import withdrawals
from tests.databases import Database
from tests.factories import add_tariff
from tests.model.backend import Backend
from tests.model.corrections import Operators
from tests.model.debts import Debts
from tests.model.forgers import Forgers
from tests.model.purses import Purses
from tests.model.reach import reached
from tests.model.taken import OFFERED
from tests.model.till import Till
from tests.model.town import COMMON, COUNTRY
from tests.model.words import Words

log = logging.getLogger(__name__)

_EXAMPLES: Final = int(os.environ.get("VOLTBAY_MODEL_EXAMPLES", "6"))
_SEED: Final = os.environ.get("VOLTBAY_MODEL_SEED")
_STEPS: Final = 60
#: The night in which summer time begins comes soon.
_START: Final = datetime(2026, 3, 27, 20, tzinfo=UTC)


class Rentals(Debts, Purses, Words, Operators, Forgers):
    """Rules are what people, cabinets, networks and time do; books are looked at after each, the world at the end."""


@pytest.mark.timeout(3600)
def test_riders_cabinets_cards_operators_clock_and_deaths(clean_database: Database) -> None:
    backend = Backend(clean_database.engine, _START)
    till = Till(backend)
    with session_scope(clean_database.engine) as session:
        session.add(
            Country(iso_code=COUNTRY, name="here", dial_code="+41", currency="EUR", locale="en", time_zone="UTC")
        )
        config.put(session, withdrawals.POLICY.name, {"EUR": OFFERED}, _START)
        add_tariff(
            session, _START, lost_after=COMMON.lost_after, lost_fee_minor=COMMON.lost_fee,
            reservation_fee_minor=COMMON.reservation_fee,
        )  # fmt: skip

    def machine() -> Rentals:
        return Rentals(backend, till)

    run_state_machine_as_test(
        machine if _SEED is None else seed(int(_SEED))(machine),  # type: ignore[arg-type]  # a factory will do, its documentation says
        settings=settings(
            max_examples=_EXAMPLES,
            stateful_step_count=_STEPS,
            deadline=None,
            derandomize=_SEED is None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
    came_to = reached(clean_database.engine)
    log.info("%s steps, %s deaths", backend.steps, backend.deaths.count)
    for name, times in sorted(came_to.items()):
        log.info("%5s %s", times, name)
    assert backend.deaths.count > _EXAMPLES // 4, "nobody died: the test does not test what it says"
