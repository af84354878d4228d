"""Everything that one event of a cabinet may change, found and locked before anything is changed."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.notify import Channel, notify
from fleet.devices.facts import DeviceFact
from fleet.devices.models import DeviceCommand
from fleet.rentals.locking import closed_rentals_of, lock_with_slots, rentals_around
from fleet.rentals.models import OPEN_STATES, Rental
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.states import Evidence
from fleet.stations.inventory import Change, record_first, record_movement
from fleet.stations.models import PowerBank
from fleet.stations.picture import Observation, Picture

#: What is told sooner is about the rental that is open, if one is.
_LATE: Final = timedelta(seconds=10)


@dataclass(slots=True)
class Scene:
    session: Session
    fact: DeviceFact
    policy: RentalPolicy
    now: datetime
    seen: Observation
    picture: Picture
    rentals: dict[UUID, Rental]
    commands: dict[UUID, DeviceCommand]
    #: Banks among those that came in about which something is still open, though no rental is.
    loose_ends: set[int] = field(default_factory=set)

    @property
    def evidence(self) -> Evidence:
        return {"device_event": self.fact.ref}

    def open_rental(self, bank: PowerBank) -> Rental | None:
        """The open rental of the bank, as it is now."""
        for rental in self.rentals.values():
            if rental.power_bank_id == bank.id and rental.state in OPEN_STATES:
                return rental
        return None

    def command(self, command_id: UUID | None) -> DeviceCommand | None:
        """The command locked under this id, if it is one of this station's."""
        command = None if command_id is None else self.commands.get(command_id)
        return command if command is not None and command.station_id == self.fact.station_id else None

    def rental_of(self, command: DeviceCommand | None) -> Rental | None:
        return None if command is None or command.rental_id is None else self.rentals.get(command.rental_id)

    def record(self, change: Change, rental_id: UUID | None) -> None:
        """Once, whatever is repeated."""
        record_movement(self.session, self.seen, change, rental_id)

    def record_first(self, change: Change, rental_id: UUID | None) -> bool:
        """`record`; False when the same event was recorded before."""
        return record_first(self.session, self.seen, change, rental_id)


def observation(fact: DeviceFact) -> Observation:
    return Observation(fact.station_id, fact.boot, fact.seq, fact.occurred_at)


def _told_late(fact: DeviceFact) -> bool:
    return fact.replayed or fact.received_at - fact.occurred_at > _LATE


def open_scene(
    session: Session,
    fact: DeviceFact,
    policy: RentalPolicy,
    now: datetime,
    *,
    numbers: Collection[int] | None,
    serials: Collection[str],
    rental_ids: Collection[UUID] = (),
    around: Collection[UUID] | None = None,
    command_ids: Collection[UUID] = (),
    came: bool = False,
) -> Scene:
    """Lock the rentals around these slots and banks (`around`: they are known) and those named, with their commands and
    the commands named, then the slots (None: all) and banks themselves. `came`: the banks did; rentals that were closed
    without them, or too late, are locked as well.
    """
    if around is None:
        around = {each.rental_id for each in rentals_around(session, fact.station_id, numbers, serials)}
    ids = {*rental_ids, *around}
    if came and (not ids or _told_late(fact)):
        ids.update(closed_rentals_of(session, serials, fact.occurred_at))
    locked = lock_with_slots(
        session, ids, command_ids, station_id=fact.station_id, numbers=numbers, serials=serials, now=now
    )
    notify(session, Channel.STATION, str(fact.station_id))
    return Scene(session, fact, policy, now, observation(fact), locked.picture, locked.rentals, locked.commands)
