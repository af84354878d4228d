"""One serial in two places at once: a misreading, or a copied label (decision 0101).

The newest word decides where the bank is taken to be; a case asks operators to look, and nobody is given the bank until
only one place tells of it. What is a conflict follows from the slots' own words alone, in whatever order they came.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from fleet.common.bulk import array
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.cases.service import TWO_PLACES, open_case, settle_conflict
from fleet.rentals.scene import Scene
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot

#: Clocks of two stations may differ by this much.
CLOCKS_DIFFER: Final = timedelta(minutes=1)
QUARANTINE_REASON: Final = "reported in two places at once"


_TOLD_ELSEWHERE: Final = text("""
SELECT DISTINCT v.bank_id FROM unnest(CAST(:banks AS int[]), CAST(:slots AS int[])) AS v(bank_id, slot_id)
  JOIN station_slot s ON s.told_bank_id = v.bank_id WHERE s.id <> v.slot_id
""")


@dataclass(frozen=True, slots=True)
class Claim:
    """A slot's word that the bank is in it, `since` until at least `last`."""

    station: str
    number: int
    since: datetime
    last: datetime
    slot: StationSlot

    @property
    def place(self) -> str:
        return f"{self.station}/{self.number}"


def contradicting(claims: Sequence[Claim]) -> list[Claim]:
    """Those of one bank that cannot all be true: told of for the same time. Pure."""
    found: dict[str, Claim] = {}
    for index, one in enumerate(claims):
        for other in claims[index + 1 :]:
            # What one cabinet tells, it tells by one clock.
            slack = timedelta(0) if one.station == other.station else CLOCKS_DIFFER
            if max(one.since, other.since) + slack <= min(one.last, other.last):
                found |= {one.place: one, other.place: other}
    return [found[place] for place in sorted(found)]


def in_doubt(session: Session, told: Collection[tuple[int, int]], before: Collection[int]) -> set[int]:
    """Those of these banks that `review` may have something to say of. `told`: (bank, slot) as the slots tell now;
    `before`: banks that these slots told of until now. All are locked.
    """
    values = {"banks": array(bank_id for bank_id, _ in told), "slots": array(slot_id for _, slot_id in told)}
    elsewhere = set(session.scalars(_TOLD_ELSEWHERE, values))
    return elsewhere | _asked_for(session, {*before, *(bank_id for bank_id, _ in told)})


def review(scene: Scene, bank_ids: Collection[int]) -> None:
    """Open a case for each of these banks that two places tell of, and close those of banks that one place tells of.

    Their rows are locked by the scene, which makes two stations that tell of one bank wait for each other.
    """
    if not bank_ids:
        return
    claims = _claims(scene.session, bank_ids)
    conflicts = {bank_id: found for bank_id, each in claims.items() if (found := contradicting(each))}
    asked = _asked_for(scene.session, bank_ids)
    for bank in scene.picture.banks.values():
        if bank.id in conflicts:
            _contradicted(scene, bank, conflicts[bank.id], known=bank.id in asked)
    for bank_id in sorted(asked - conflicts.keys()):
        _explained(scene, bank_id)


def _claims(session: Session, bank_ids: Collection[int]) -> Mapping[int, list[Claim]]:
    twice = (
        select(StationSlot.told_bank_id)
        .where(StationSlot.told_bank_id.in_(bank_ids))
        .group_by(StationSlot.told_bank_id)
        .having(func.count() > 1)
    )
    query = (
        select(StationSlot, Station.code)
        .join(Station, Station.id == StationSlot.station_id)
        .where(StationSlot.told_bank_id.in_(twice))
        .order_by(StationSlot.id)
        .execution_options(populate_existing=True)
    )
    found: dict[int, list[Claim]] = {}
    for slot, code in session.execute(query):
        bank_id, since, last = slot.told_bank_id, slot.told_since, slot.proven_at
        if bank_id is not None and since is not None and last is not None:
            found.setdefault(bank_id, []).append(Claim(code, slot.number, since, last, slot))
    return found


def _asked_for(session: Session, bank_ids: Collection[int]) -> set[int]:
    query = select(OrphanBankCase.power_bank_id).where(
        OrphanBankCase.power_bank_id.in_(bank_ids),
        OrphanBankCase.state == CaseState.OPEN,
        OrphanBankCase.reason == TWO_PLACES,
    )
    return set(session.scalars(query))


def _contradicted(scene: Scene, bank: PowerBank, claims: Sequence[Claim], *, known: bool) -> None:
    if bank.state is PowerBankState.AVAILABLE:
        bank.state, bank.state_set_by = PowerBankState.QUARANTINED, TWO_PLACES
        bank.quarantine_reason = QUARANTINE_REASON
    if not known:
        evidence = {**scene.evidence, "places": [claim.place for claim in claims]}
        open_case(scene.session, bank, claims[-1].slot, reason=TWO_PLACES, evidence=evidence, now=scene.now)


def _explained(scene: Scene, bank_id: int) -> None:
    bank = scene.session.get_one(PowerBank, bank_id, with_for_update={"key_share": True}, populate_existing=True)
    settle_conflict(scene.session, bank, "only one place tells of it now", scene.now)
    if bank.state_set_by == TWO_PLACES:
        held = select(StationSlot.id).where(StationSlot.power_bank_id == bank_id).limit(1)
        in_slot = scene.session.scalar(held) is not None
        bank.state = PowerBankState.AVAILABLE if in_slot else PowerBankState.MISSING
        bank.state_set_by = bank.quarantine_reason = None
