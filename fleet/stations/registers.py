"""What inventories leave in the rows of slots and banks, for any number of them in two statements (decision 0031).

The rows are locked, and the inventory is newer than what each slot tells. Both statements write behind the session's
back: whoever holds the rows as objects has them read anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from firmware_protocol.messages import SlotInventory
from firmware_protocol.types import SlotState
from fleet.common.bulk import array, booleans, instants, raw_cursor, words
from fleet.stations.picture import OUTSIDE, Observation

_SLOTS: Final = """
UPDATE station_slot s
   SET state = v.state, power_bank_id = v.held_id,
       observed_boot = v.boot, observed_seq = v.seq, observed_at = v.at,
       proven_at = CASE WHEN v.proven THEN v.at ELSE s.proven_at END,
       told_bank_id = CASE WHEN v.proven THEN v.told_id ELSE s.told_bank_id END,
       told_since = CASE WHEN NOT v.proven OR v.told_id = s.told_bank_id THEN s.told_since
                         WHEN v.told_id IS NOT NULL THEN v.at END,
       locked = CASE WHEN l.newer THEN v.locked ELSE s.locked END,
       lock_boot = CASE WHEN l.newer THEN v.boot ELSE s.lock_boot END,
       lock_seq = CASE WHEN l.newer THEN v.seq ELSE s.lock_seq END
  FROM unnest(%(ids)s::int[], %(states)s::text[], %(held)s::int[], %(told)s::int[], %(proven)s::bool[],
              %(locked)s::bool[], %(boots)s::bigint[], %(seqs)s::bigint[], %(at)s::timestamptz[])
       AS v(id, state, held_id, told_id, proven, locked, boot, seq, at)
  JOIN station_slot o USING (id),
       LATERAL (SELECT v.locked IS NOT NULL AND (o.lock_boot, o.lock_seq) < (v.boot, v.seq) AS newer) l
 WHERE s.id = v.id
"""
#: Being in a slot ends what a bank is while it is out, unless somebody set it on purpose.
_BANKS: Final = """
UPDATE power_bank b
   SET seen_station_id = v.station_id, seen_boot = v.boot, seen_seq = v.seq, seen_at = v.at,
       state = CASE WHEN v.found AND b.state_set_by IS NULL AND b.state = ANY(%(outside)s::text[])
                    THEN 'available' ELSE b.state END,
       charge_pct = CASE WHEN v.charge IS NOT NULL AND (b.charge_at IS NULL OR b.charge_at <= v.at)
                         THEN v.charge ELSE b.charge_pct END,
       charge_at = CASE WHEN v.charge IS NOT NULL AND (b.charge_at IS NULL OR b.charge_at <= v.at)
                        THEN v.at ELSE b.charge_at END,
       ready = CASE WHEN v.charge IS NULL AND b.seen_station_id = v.station_id THEN coalesce(v.ready, b.ready)
                    ELSE v.ready END
  FROM unnest(%(ids)s::int[], %(found)s::bool[], %(charges)s::int[], %(ready)s::bool[], %(stations)s::int[],
              %(boots)s::bigint[], %(seqs)s::bigint[], %(at)s::timestamptz[])
       AS v(id, found, charge, ready, station_id, boot, seq, at)
 WHERE b.id = v.id
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A slot as an inventory leaves it. Banks by their ids."""

    slot_id: int
    seen: Observation
    entry: SlotInventory
    state: SlotState
    #: Whose serial it shows.
    told_id: int | None
    #: What it holds by all that is known.
    held_id: int | None
    #: It was not known to hold that.
    found: bool

    @property
    def proven(self) -> bool:
        """A serial and emptiness are proof of what is inside; something unreadable is none."""
        return self.entry.serial is not None or self.entry.state is SlotState.EMPTY


def write(session: Session, shown: Sequence[Shown]) -> None:
    """Move the registers of all that is shown; most of it is no news."""
    if not shown:
        return
    with raw_cursor(session) as cursor:
        cursor.execute(
            _SLOTS,
            {
                **_key(shown),
                "ids": array(each.slot_id for each in shown),
                "states": words(each.state.value for each in shown),
                "held": array(each.held_id for each in shown),
                "told": array(each.told_id for each in shown),
                "proven": booleans(each.proven for each in shown),
                "locked": booleans(each.entry.locked for each in shown),
            },
        )
        held = [each for each in shown if each.held_id is not None]
        if held:
            cursor.execute(
                _BANKS,
                {
                    **_key(held),
                    "ids": array(each.held_id for each in held),
                    "outside": words(sorted(OUTSIDE)),
                    "found": booleans(each.found for each in held),
                    "charges": array(each.entry.charge_pct for each in held),
                    "ready": booleans(each.entry.ready for each in held),
                    "stations": array(each.seen.station_id for each in held),
                },
            )


def _key(shown: Sequence[Shown]) -> dict[str, str]:
    return {
        "boots": array(each.seen.boot for each in shown),
        "seqs": array(each.seen.seq for each in shown),
        "at": instants(each.seen.at for each in shown),
    }
