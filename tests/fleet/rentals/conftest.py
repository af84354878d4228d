from datetime import datetime

import pytest
from sqlalchemy.orm import Session

from tests.fleet.rentals.world import World


@pytest.fixture
def world(session: Session, now: datetime) -> World:
    return World(session, now)
