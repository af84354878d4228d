"""HTTP calls of Volinks cabinets. Anybody who knows an IMEI can make one: they are kept, counted, and never believed
alone (volinks.md 10.1). What a call tells of slots and banks is a reason to ask the cabinet itself.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from firmware_protocol.commands import QueryInventory
from fleet.common import networks
from fleet.common.outbox import publish
from fleet.common.vault import Vault
from fleet.config.service import ConfigKey, registry
from fleet.devices import credentials, dead_letters, profiles
from fleet.devices.commands import inventory_is_coming, queue_command
from fleet.devices.credentials import IssuedSecret
from fleet.devices.dead_letters import Rejected
from fleet.devices.errors import LockedOut
from fleet.devices.events import ConnectDoubted
from fleet.devices.models import DeviceCommand
from fleet.devices.vendor_models import DeviceCall, Doubt
from fleet.stations.models import Station

DIALECT: Final = "volinks"
#: The kind of call that hands out a secret.
CONNECT: Final = "connect"
#: The allow-list does not have it.
UNKNOWN_CABINET: Final = "unknown_cabinet"
WRONG_SIGN: Final = "wrong_sign"
#: A cabinet calls three times an hour, and what it says is worth little once it has been asked itself.
KEPT: Final = timedelta(days=2)
_TARGET_CHARS: Final = 2000
_SOURCE_CHARS: Final = 64
#: What is kept of the body of a call that names no cabinet of ours.
_STRANGERS_BYTES: Final = 1024
_FIRMWARE_CHARS: Final = 256
#: A call makes us ask at most this often.
_ASK_AGAIN: Final = timedelta(seconds=60)
_ANSWER_WITHIN: Final = timedelta(seconds=60)
#: After a return the cabinet tests the slot before an inventory shows it.
_SELF_CHECK: Final = timedelta(seconds=5)
#: The test takes 3 s: a question that is due a little sooner will do.
_NEAR: Final = timedelta(seconds=1)

VERSIONS: Final = registry.add(
    ConfigKey(
        "volinks.versions",
        dict[str, str],
        {},
        description="Firmware that Volinks cabinets are offered: kind and id (`main.1`, `control.1`, `publish.mcu`) to"
        " `name,size,url`. What the URL gives is what they will run.",
    )
)
CABINET_CONFIG: Final = registry.add(
    ConfigKey(
        "volinks.config",
        dict[str, int],
        {
            "dRotationRefer": 15,
            "dReturnLocked": 0,
            "dHeadConfig": 43,
            "dRotationNumber": 5,
            "dRotationEnable": 1,
            "dMotorEnable": 1,
            "dAreaConfig": 343,
        },
        description="What Volinks cabinets of older firmware are told when they ask for their configuration.",
    )
)
ADVERTS: Final = registry.add(
    ConfigKey(
        "volinks.adverts",
        list[dict[str, Any]],
        [],
        description="Adverts of Volinks cabinets with a screen: id, title, fileType, url1, url2, url3, forward,"
        " playTime, weight, screenBrightness.",
    )
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it came."""

    kind: str
    #: Path and query.
    target: str
    body: bytes = field(repr=False)
    source: str
    #: Its `sign` fits, which proves nothing.
    signed: bool
    received_at: datetime


def cabinet(session: Session, hardware_id: str, call: Call) -> Station | None:
    """The station whose cabinet says it calls, and a record of the call; None for a stranger, who leaves a trace.

    A `connect` for a cabinet that is connected, or from another network than its last, is told to operators: it has
    restarted, or somebody uses its IMEI.
    """
    query = select(Station).where(Station.hardware_id == hardware_id, Station.dialect == DIALECT)
    station = session.scalars(query).one_or_none() if hardware_id and "\0" not in hardware_id else None
    if station is None:
        refuse(session, call, UNKNOWN_CABINET, f"no Volinks station has the hardware id {hardware_id[:64]!r}")
        return None
    doubt = _doubt(session, station, call)
    session.add(
        DeviceCall(
            station_id=station.id,
            kind=call.kind,
            target=_text(call.target, _TARGET_CHARS),
            body=call.body,
            source=call.source[:_SOURCE_CHARS],
            signed=call.signed,
            doubt=doubt,
            received_at=call.received_at,
        )
    )
    if doubt is not None:
        told = ConnectDoubted(station.id, station.code, call.source, doubt, call.received_at)
        publish(session, told, call.received_at)
    return station


def _doubt(session: Session, station: Station, call: Call) -> Doubt | None:
    """What operators are told of a signed `connect`; without the sign it gets nothing."""
    if call.kind != CONNECT or not call.signed:
        return None
    profile = profiles.profile_of(session, station.id)
    before = None if profile is None else profile.connected_from
    if before is not None and networks.around(before) != networks.around(call.source[:_SOURCE_CHARS]):
        return Doubt.NETWORK
    return Doubt.CONNECTED if station.online else None


def refuse(session: Session, call: Call, code: str, reason: str, station: Station | None = None) -> None:
    """Keep a call that gets nothing: all of its body when it is a `station`'s."""
    # Who names no cabinet of ours fills no disk.
    body = call.body if station is not None else call.body[:_STRANGERS_BYTES]
    rejected = Rejected(
        topic=f"http:{call.target}",
        station_code=None if station is None else station.code,
        # Letters are told apart by their bytes: many calls have no body, or all the same one.
        payload=call.target[:_TARGET_CHARS].encode() + b"\n\n" + body,
        content_type=None,
        error_code=code,
        error=f"{reason}, from {call.source}",
        received_at=call.received_at,
    )
    dead_letters.record(session, rejected)


def connect(
    session: Session, station: Station, call: Call, vault: Vault, *, firmware: str | None, now: datetime
) -> IssuedSecret:
    """What the cabinet proves itself to the broker with: its own, made at its first call.

    Its next frame begins a new session, and with it an inventory. Raises LockedOut.
    """
    credentials.lock_station(session, station.id)  # before it is looked: a revocation holds it as well
    if profiles.locked_out(session, [station.id]):
        raise LockedOut(f"station {station.code} was revoked: an operator re-admits it", station=station.code)
    profiles.connected(
        session,
        station.id,
        source=call.source[:_SOURCE_CHARS],
        firmware=None if firmware is None else _text(firmware, _FIRMWARE_CHARS),
        now=now,
    )
    assert station.hardware_id is not None
    return credentials.secret_for(session, vault, station_id=station.id, username=station.hardware_id, now=now)


def told_of_slots(session: Session, station: Station, now: datetime, *, returned: bool) -> bool:
    """The call tells what is in the slots, or that a bank came back: ask the cabinet. False: asked lately, or away."""
    look_at = now + _SELF_CHECK if returned else now
    if not station.online or inventory_is_coming(session, station.id, look_at - _NEAR if returned else now, now):
        return False
    if not returned and _asked_since(session, station.id, now - _ASK_AGAIN):
        return False
    queue_command(
        session,
        station_id=station.id,
        command=QueryInventory(),
        deadline=look_at + _ANSWER_WITHIN,
        now=now,
        not_before=look_at,
    )
    return True


def forget_old(session: Session, now: datetime) -> int:
    """Drop calls older than two days; returns how many."""
    result = session.execute(delete(DeviceCall).where(DeviceCall.received_at < now - KEPT))
    return int(getattr(result, "rowcount", 0))


def _asked_since(session: Session, station_id: int, since: datetime) -> bool:
    query = select(DeviceCommand.id).where(
        DeviceCommand.station_id == station_id,
        DeviceCommand.kind == "query_inventory",
        DeviceCommand.created_at > since,
    )
    return session.scalars(query.limit(1)).first() is not None


def _text(value: str, limit: int) -> str:
    # PostgreSQL's text holds no U+0000.
    return value.replace("\0", "\\0")[:limit]
