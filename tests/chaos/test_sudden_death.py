"""kill -9 of every process at every point of a rental, and of several at once: nothing is lost, or happens twice."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from simulators.faults import FaultKind
from tests.chaos.story import Point, Story, Targets
from tests.system.clients import Rider
from tests.system.system import SERVICES, System
from tests.system.waiting import until

#: Each of these at every point.
_EVERYWHERE = ("gateway", "mosquitto", "redis", "worker", "postgres")
#: These are not on a rental's way but at some points.
_SOMEWHERE = [
    *((name, point) for name in ("relay", "beat") for point in (Point.PUBLISHED, Point.DURING_CLOSE)),
    *(("api", point) for point in (Point.BEFORE_START, Point.MID_START, Point.PUBLISHED)),
]
_DEATHS = [*((name, point) for name in _EVERYWHERE for point in Point), *_SOMEWHERE]
_BROKER, _DATABASE = ("mosquitto", "gateway"), ("postgres", "api")
_ALL = (*SERVICES, "gateway", "api", "worker", "relay", "beat")
_TOGETHER = [
    *((_BROKER, point) for point in (Point.COMMITTED, Point.EVENT_ON_ITS_WAY)),
    *((_DATABASE, point) for point in (Point.MID_START, Point.PUBLISHED)),
    (_ALL, Point.EVENT_ON_ITS_WAY),
]


@pytest.mark.parametrize(("target", "point"), _DEATHS, ids=[f"{name}-{point.name.lower()}" for name, point in _DEATHS])
def test_a_rental_survives(system: System, rider: Rider, stations: tuple[str, str], target: str, point: Point) -> None:
    story = Story(system, rider, stations)
    story.happens((target,), point)
    story.ends_well()


@pytest.mark.parametrize(
    ("targets", "point"), _TOGETHER, ids=[f"{'-'.join(names[:2])}-{point.name.lower()}" for names, point in _TOGETHER]
)
def test_a_rental_survives_several(
    system: System, rider: Rider, stations: tuple[str, str], targets: Targets, point: Point
) -> None:
    story = Story(system, rider, stations)
    story.happens(targets, point)
    story.ends_well()


def test_the_api_dies_between_the_commit_and_its_answer(
    system: System, rider: Rider, stations: tuple[str, str]
) -> None:
    story = Story(system, rider, stations)
    system.cabinets.fault(story.out, FaultKind.LATE_ANSWER, delay_s=1.0)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: rider.start_raw(story.out, key=story.key, wait=20))
        until(lambda: system.cabinets.moving(story.out), "the motor turns: committed, and not answered")
        system.kill("api")
        assert isinstance(asked.exception(30), httpx.TransportError)
    system.restart("api")
    story.rents_and_returns(rider.start_until_answered(story.out, story.key))
    story.ends_well()


def test_the_broker_dies_with_a_command_that_it_has_not_read(
    system: System, rider: Rider, stations: tuple[str, str]
) -> None:
    """It is in the socket: the gateway has sent it, and nobody has it."""
    story = Story(system, rider, stations)
    with system.frozen("mosquitto"):
        rental = rider.start(story.out, key=story.key)
        until(lambda: system.command_of(rental["id"])[0] == "sent", "the command is sent")
        system.kill("mosquitto")
    system.restart("mosquitto")
    story.rents_and_returns(rental)
    story.ends_well()
