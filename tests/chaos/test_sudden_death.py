"""kill -9 of every process at every point of a rental: nothing is lost, nothing happens twice."""

import pytest

from tests.chaos.story import Point, Story
from tests.system.clients import Rider
from tests.system.system import System

#: Each of these at every point.
_EVERYWHERE = ("gateway", "mosquitto", "redis", "worker", "postgres")
#: These are not on a rental's way but at some points.
_SOMEWHERE = [
    *((name, point) for name in ("relay", "beat") for point in (Point.PUBLISHED, Point.DURING_CLOSE)),
    *(("api", point) for point in (Point.BEFORE_START, Point.MID_START, Point.PUBLISHED)),
]
_DEATHS = [*((name, point) for name in _EVERYWHERE for point in Point), *_SOMEWHERE]


@pytest.mark.parametrize(("target", "point"), _DEATHS, ids=[f"{name}-{point.name.lower()}" for name, point in _DEATHS])
def test_a_rental_survives(system: System, rider: Rider, stations: tuple[str, str], target: str, point: Point) -> None:
    story = Story(system, rider, stations)
    story.happens(target, point)
    story.ends_well()
