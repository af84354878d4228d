"""What is known of vendors' cabinets (decision 0085): read when a frame of one comes in, learnt from such frames."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from firmware_protocol.vendor import Known, KnownEject, KnownQuestion, Layout
from fleet.common.bulk import array
from fleet.common.outbox import publish
from fleet.common.vault import Vault
from fleet.devices.events import StationInventoryRefused
from fleet.devices.vendor_models import DeviceProfile
from fleet.stations.models import Station

#: Purpose of the Vault that seals secrets of vendors' cabinets.
PURPOSE: Final = "vendor device secrets"
#: Results that come later than this after their eject are of no eject.
_REMEMBERED: Final = timedelta(days=2)
_MOST_EJECTS: Final = 20
_SECRET_BYTES: Final = 32

_CABINETS: Final = text("""
SELECT t.id, t.code, t.hardware_id, t.slot_count, p.layout, p.revision, coalesce(p.tolerate_checksum, false),
       p.sealed_secret, p.stale_since IS NOT NULL, q.id, q.payload, q.code
  FROM station t LEFT JOIN device_profile p ON p.station_id = t.id
  LEFT JOIN LATERAL (
    SELECT id, payload, code FROM device_command
     WHERE p.revision IS NULL AND station_id = t.id AND kind = 'query_inventory' AND sent_at IS NOT NULL
           AND created_at > :since
     ORDER BY created_at DESC, id DESC LIMIT 1) q ON true
 WHERE t.id = ANY(CAST(:ids AS int[]))
""")
_EJECTS: Final = text("""
SELECT s.id, c.id, c.args, c.state, c.sent_at FROM unnest(CAST(:ids AS int[])) AS s(id), LATERAL (
    SELECT id, args, state, sent_at, created_at FROM device_command
     WHERE station_id = s.id AND kind = 'eject_power_bank' AND sent_at IS NOT NULL AND created_at > :since
     ORDER BY created_at DESC, id DESC LIMIT :most) c
 ORDER BY c.created_at DESC, c.id DESC
""")
#: The first that was asked: its answer may be the one that comes, however late (decision 0086). What was asked over
#: another connection is answered by nobody.
_ASKED: Final = text("""
SELECT DISTINCT ON (c.station_id) c.station_id, c.id FROM device_command c
  LEFT JOIN device_session s ON s.station_id = c.station_id AND s.ended_at IS NULL
 WHERE c.station_id = ANY(CAST(:ids AS int[])) AND c.kind = 'query_inventory' AND c.state = 'sent' AND c.deadline > :now
   AND (s.held_by IS NULL OR c.sent_at >= s.connected_at)
 ORDER BY c.station_id, c.sent_at, c.id
""")
_SLOTS: Final = text("""
SELECT s.station_id, s.number, s.fault, b.serial FROM station_slot s LEFT JOIN power_bank b ON b.id = s.power_bank_id
 WHERE s.station_id = ANY(CAST(:ids AS int[])) AND (s.fault IS NOT NULL OR b.id IS NOT NULL)
""")


@dataclass(slots=True)
class _Found:
    ejects: list[KnownEject] = field(default_factory=list)
    asked: str | None = None
    banks: dict[str, int] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)


def known(
    session: Session, station_ids: Collection[int], now: datetime, vault: Vault | None = None
) -> dict[int, Known]:
    """What is known of these cabinets, by station id. Without `vault` secrets are left out."""
    ids = array(sorted(station_ids))
    found = {each: _Found() for each in station_ids}
    since = now - _REMEMBERED
    for station_id, command_id, args, state, sent_at in session.execute(
        _EJECTS, {"ids": ids, "since": since, "most": _MOST_EJECTS}
    ):
        found[station_id].ejects.append(_eject(str(command_id), args, state, now - sent_at))
    for station_id, command_id in session.execute(_ASKED, {"ids": ids, "now": now}):
        found[station_id].asked = str(command_id)
    for station_id, number, fault, serial in session.execute(_SLOTS, {"ids": ids}):
        if fault is not None:
            found[station_id].faults[number] = fault
        if serial is not None:
            found[station_id].banks[serial] = number
    at_s = int(now.timestamp())
    cabinets = session.execute(_CABINETS, {"ids": ids, "since": since})
    return {row[0]: _known(tuple(row), found[row[0]], vault, at_s) for row in cabinets}


def _eject(command_id: str, args: dict[str, Any], state: str, age: timedelta) -> KnownEject:
    return KnownEject(
        command_id=command_id,
        slot=args.get("slot"),
        serial=args.get("serial"),
        in_flight=state in {"sent", "unknown"},
        succeeded=state == "succeeded",
        age_s=age.total_seconds(),
    )


def _known(row: tuple[Any, ...], found: _Found, vault: Vault | None, at_s: int) -> Known:
    _, code, hardware_id, slot_count, layout, revision, tolerate, sealed, stale, *question = row
    return Known(
        station=code,
        hardware_id=hardware_id or "",
        slot_count=slot_count,
        layout=None if layout is None else tuple(tuple(board) for board in layout),
        revision=revision,
        tolerate_checksum=tolerate,
        secret=None if sealed is None or vault is None else vault.open_or_any(bytes(sealed), code, _SECRET_BYTES),
        at_s=at_s,
        ejects=tuple(found.ejects),
        inventory_asked=found.asked,
        last_question=_question(*question),
        stale=stale,
        banks=found.banks,
        faults=found.faults,
    )


def _question(command_id: UUID | None, payload: bytes | None, code: str | None) -> KnownQuestion | None:
    if command_id is None:
        return None
    said = None if payload is None else bytes(payload)
    return KnownQuestion(command_id=str(command_id), payload=said, code=code)


def learn(
    session: Session, station_id: int, now: datetime, *, layout: Layout | None = None, revision: str | None = None
) -> None:
    """Keep what a frame proved. A layout is learnt once; only an operator has it learnt anew (`forget_layout`)."""
    values: dict[str, object] = {}
    if revision is not None:
        values["revision"] = revision
    if layout is not None:
        values |= {"layout": [list(board) for board in layout], "commissioned_at": now}
    if values:
        _write(session, station_id, values)


def forget_layout(session: Session, station_id: int) -> None:
    """The cabinet was rebuilt: its next complete inventory is the layout it is commissioned with."""
    _write(session, station_id, {"layout": None, "commissioned_at": None})


def set_secret(session: Session, station: Station, secret: bytes | None, vault: Vault) -> None:
    """What the cabinet signs its frames with."""
    _write(session, station.id, {"sealed_secret": None if secret is None else vault.seal(secret, station.code)})


def set_tolerance(session: Session, station_id: int, *, tolerate_checksum: bool) -> None:
    """Whether frames with wrong check bytes are read all the same."""
    _write(session, station_id, {"tolerate_checksum": tolerate_checksum})


def set_revision(session: Session, station_id: int, revision: str) -> None:
    """Which revision of its protocol it speaks, as its papers say: until a frame proves the other."""
    _write(session, station_id, {"revision": revision})


def lock_out(session: Session, station_id: int, now: datetime) -> None:
    """It gets no secret and is not let in until an operator re-admits it."""
    _write(session, station_id, {"locked_out_at": now})


def readmit(session: Session, station_id: int) -> None:
    _write(session, station_id, {"locked_out_at": None})


def locked_out(session: Session, station_ids: Collection[int]) -> set[int]:
    """Those of these stations that were revoked and not re-admitted since."""
    query = select(DeviceProfile.station_id).where(
        DeviceProfile.station_id.in_(station_ids), DeviceProfile.locked_out_at.is_not(None)
    )
    return set(session.scalars(query))


def connected(session: Session, station_id: int, *, source: str, firmware: str | None, now: datetime) -> None:
    """Somebody called `connect` in the name of this cabinet."""
    values: dict[str, object] = {"connected_at": now, "connected_from": source}
    _write(session, station_id, values if firmware is None else {**values, "firmware": firmware})


def inventory_refused(session: Session, station_id: int, code: str, reason: str, now: datetime) -> None:
    """An inventory could not be read beyond doubt: the last good one stands, stale. Told once until one is taken."""
    _write(session, station_id, {})
    marked = session.scalar(
        update(DeviceProfile)
        .where(DeviceProfile.station_id == station_id, DeviceProfile.stale_since.is_(None))
        .values(stale_since=now, stale_reason=f"{code}: {reason}"[:200])
        .returning(DeviceProfile.station_id)
        .execution_options(synchronize_session=False)
    )
    if marked is not None:
        station = session.get_one(Station, station_id)
        publish(session, StationInventoryRefused(station_id, station.code, code, now), now)


def inventory_well(session: Session, station_ids: Sequence[int]) -> None:
    """A complete inventory was taken."""
    session.execute(
        update(DeviceProfile)
        .where(DeviceProfile.station_id.in_(station_ids), DeviceProfile.stale_since.is_not(None))
        .values(stale_since=None, stale_reason=None)
        .execution_options(synchronize_session=False)
    )


def profile_of(session: Session, station_id: int) -> DeviceProfile | None:
    query = select(DeviceProfile).where(DeviceProfile.station_id == station_id)
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _write(session: Session, station_id: int, values: dict[str, object]) -> None:
    statement = insert(DeviceProfile).values(station_id=station_id, **values)
    session.execute(
        statement.on_conflict_do_update(index_elements=["station_id"], set_=values)
        if values
        else statement.on_conflict_do_nothing()
    )
