"""Reads about sessions, commands and frames."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import cbor2
from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session

from firmware_protocol.topics import PREFIX
from fleet.devices.inbox import VENDOR_ENCODING
from fleet.devices.models import DeviceCommand, DeviceEvent, DeviceSession
from fleet.stations.models import Station

#: An answer that comes later than this after its command is found by its own reference only.
_ANSWERED_WITHIN: Final = timedelta(days=2)
_JSON: Final = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it went over the wire. `body` is its envelope as plain values; bytes are hex."""

    at: datetime
    sent: bool
    station_code: str
    type: str
    #: None for what we sent.
    boot: int | None
    seq: int | None
    body: Any


def online(session: Session, station_id: int) -> bool:
    """Whether the station is connected, as far as we know."""
    query = select(DeviceSession.epoch).where(DeviceSession.station_id == station_id, DeviceSession.ended_at.is_(None))
    return session.scalars(query).first() is not None


def commands_of_rental(session: Session, rental_id: UUID) -> list[DeviceCommand]:
    """In order of time."""
    query = select(DeviceCommand).where(DeviceCommand.rental_id == rental_id)
    return list(session.scalars(query.order_by(DeviceCommand.created_at, DeviceCommand.id)))


def commands_of_station(
    session: Session, station_id: int, *, limit: int = 50, before: UUID | None = None
) -> list[DeviceCommand]:
    """Newest first; `before` is the id of the last one seen (ids rise with time)."""
    query = select(DeviceCommand).where(DeviceCommand.station_id == station_id)
    if before is not None:
        query = query.where(DeviceCommand.id < before)
    return list(session.scalars(query.order_by(DeviceCommand.id.desc()).limit(limit)))


def frames_of_rental(session: Session, rental_id: UUID, refs: Iterable[str] = ()) -> list[Frame]:
    """Frames about a rental in order of time: its commands, what answered them, and the events named by `refs`
    (`DeviceFact.ref`, as evidence holds them).
    """
    commands = commands_of_rental(session, rental_id)
    codes = _codes(session, {command.station_id for command in commands})
    frames = [_sent(command, codes[command.station_id]) for command in commands if command.payload is not None]
    received = {_key(event): event for command in commands for event in _answers(session, command)}
    received |= {_key(event): event for event in events_by_refs(session, refs)}
    codes |= _codes(session, {event.station_id for event in received.values()})
    frames += [_received(event, codes[event.station_id]) for event in received.values()]
    return sorted(frames, key=lambda frame: frame.at)


def events_by_refs(session: Session, refs: Iterable[str]) -> list[DeviceEvent]:
    """Stored events by their `DeviceFact.ref`; what is no reference, or is not stored any more, is left out."""
    keys = [key for ref in refs if (key := _parse(ref)) is not None]
    if not keys:
        return []
    query = (
        select(DeviceEvent)
        .join(Station, Station.id == DeviceEvent.station_id)
        .where(tuple_(Station.code, DeviceEvent.boot, DeviceEvent.seq).in_(keys))
    )
    return list(session.scalars(query))


def body_of(raw: bytes, encoding: int) -> Any:
    """A stored frame as plain values, for people and traces."""
    if encoding == _JSON:
        return json.loads(raw)
    return _plain(cbor2.loads(raw))


def _answers(session: Session, command: DeviceCommand) -> Sequence[DeviceEvent]:
    """Events of the station that carry the command's id."""
    sent_at = command.sent_at or command.created_at
    query = select(DeviceEvent).where(
        DeviceEvent.station_id == command.station_id,
        DeviceEvent.received_at >= command.created_at,
        DeviceEvent.received_at < sent_at + _ANSWERED_WITHIN,
        # What a vendor's frame was read as names the command; its bytes never do.
        text(
            "(position(convert_to(:command_id, 'UTF8') IN device_event.raw) > 0"
            " OR device_event.message ->> 'command_id' = :command_id)"
        ).bindparams(command_id=str(command.id)),
    )
    return session.scalars(query).all()


def _codes(session: Session, station_ids: Iterable[int]) -> dict[int, str]:
    query = select(Station.id, Station.code).where(Station.id.in_(list(station_ids)))
    return {row[0]: row[1] for row in session.execute(query)}


def _key(event: DeviceEvent) -> tuple[int, int, int]:
    return event.station_id, event.boot, event.seq


def _parse(ref: str) -> tuple[str, int, int] | None:
    code, _, rest = ref.partition(":")
    boot, _, seq = rest.partition(":")
    return (code, int(boot), int(seq)) if boot.isdecimal() and seq.isdecimal() else None


def _sent(command: DeviceCommand, station_code: str) -> Frame:
    assert command.payload is not None
    payload = bytes(command.payload)
    if payload[:1] == b"{":
        body = body_of(payload, _JSON)
    else:
        native = (command.topic or "").startswith(f"{PREFIX}/")
        body = body_of(payload, 2) if native else {"hex": payload.hex()}
    at = command.sent_at or command.created_at
    return Frame(at=at, sent=True, station_code=station_code, type=command.kind, boot=None, seq=None, body=body)


def _received(event: DeviceEvent, station_code: str) -> Frame:
    return Frame(
        at=event.received_at,
        sent=False,
        station_code=station_code,
        type=event.type,
        boot=event.boot,
        seq=event.seq,
        body=_body(event),
    )


def _body(event: DeviceEvent) -> Any:
    raw = bytes(event.raw)
    if event.encoding == VENDOR_ENCODING:
        return {"hex": raw.hex(), "read_as": event.message}
    return _plain(body_of(raw, event.encoding))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
