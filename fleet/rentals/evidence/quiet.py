"""Inventories of many stations at once, at which nothing is under way: no rental, no claim, no case, no open verdict.

What they mean is then a matter of slots and banks alone (`stations.plain_inventories`). All others are for
`service.apply_fact`, one at a time; it would make the same of these (decision 0291).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from firmware_protocol.messages import Inventory
from fleet.common.bulk import array, words
from fleet.common.notify import Channel, notify
from fleet.devices import reconcile
from fleet.devices.commands import EJECT
from fleet.devices.facts import DeviceFact
from fleet.rentals.evidence import conflicts
from fleet.rentals.evidence.returns import loose_ends
from fleet.rentals.models import IS_OPEN
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.scene import observation
from fleet.stations import plain_inventories
from fleet.stations.plain_inventories import Plain

#: Stations with ejects that wait for a verdict, with banks that riders say are there, and with banks of open rentals:
#: in their slots, or named by their inventories.
_BUSY: Final = text(f"""
SELECT station_id FROM device_command
 WHERE station_id = ANY(CAST(:stations AS int[])) AND kind = :eject AND state = 'unknown'
 UNION
SELECT station_id FROM return_claim WHERE station_id = ANY(CAST(:stations AS int[])) AND state = 'pending'
 UNION
SELECT s.station_id FROM station_slot s JOIN rental r ON r.power_bank_id = s.power_bank_id
 WHERE s.station_id = ANY(CAST(:stations AS int[])) AND r.{IS_OPEN}
 UNION
SELECT v.station_id FROM unnest(CAST(:named_by AS int[]), CAST(:serials AS text[])) AS v(station_id, serial)
  JOIN power_bank b ON b.serial = v.serial JOIN rental r ON r.power_bank_id = b.id WHERE r.{IS_OPEN}
""")  # noqa: S608  # our own words


def take_quiet(
    session: Session, facts: Sequence[tuple[DeviceFact, Inventory]], policy: RentalPolicy, now: datetime
) -> list[DeviceFact]:
    """Apply those of these inventories, at most one of each station, that are quiet. Returns them."""
    numbered = [(fact, told) for fact, told in facts if fact.numbered]
    if not numbered:
        return []
    busy = _busy(session, numbered) | _naming_the_same(facts)
    asked = [(fact, told) for fact, told in numbered if fact.station_id not in busy]
    if not asked:
        return []
    looks = plain_inventories.look(session, [(observation(fact), told.slots) for fact, told in asked])
    stirred = _stirred(session, [plain for plain in looks if plain is not None])
    quiet = [
        (fact, told, plain)
        for (fact, told), plain in zip(asked, looks, strict=True)
        if plain is not None and stirred.isdisjoint((*plain.told_before, *_banks(plain)))
    ]
    plain_inventories.write(session, [plain for _, _, plain in quiet])
    whole = [fact.station_id for fact, told, _ in quiet if told.complete]
    reconcile.answered(session, whole, now, policy.reconcile_every)
    for fact, _, _ in quiet:
        notify(session, Channel.STATION, str(fact.station_id))
    return [fact for fact, _, _ in quiet]


def _busy(session: Session, facts: Sequence[tuple[DeviceFact, Inventory]]) -> set[int]:
    named = [(fact.station_id, entry.serial) for fact, told in facts for entry in told.slots if entry.serial]
    values = {
        "stations": array(fact.station_id for fact, _ in facts),
        "eject": EJECT,
        "named_by": array(station_id for station_id, _ in named),
        "serials": words(serial for _, serial in named),
    }
    return set(session.scalars(_BUSY, values))


def _naming_the_same(facts: Sequence[tuple[DeviceFact, Inventory]]) -> set[int]:
    """Stations that show a bank which another one shows as well: whose word is newer is looked at one by one."""
    places: dict[str, set[int]] = {}
    for fact, told in facts:
        for entry in told.slots:
            if entry.serial is not None:
                places.setdefault(entry.serial, set()).add(fact.station_id)
    return set().union(*(stations for stations in places.values() if len(stations) > 1))


def _stirred(session: Session, plain: Sequence[Plain]) -> set[int]:
    """Banks about which something is open although no rental is, or that more than one place tells of."""
    before = {bank_id for each in plain for bank_id in each.told_before}
    stirred = conflicts.in_doubt(session, [pair for each in plain for pair in each.told], before)
    found = [bank_id for each in plain for bank_id in each.found]
    if found:
        stirred |= loose_ends(session, found, min(each.found_since for each in plain))
    return stirred


def _banks(plain: Plain) -> list[int]:
    return [each.held_id for each in plain.shown if each.held_id is not None]
