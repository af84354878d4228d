"""Session messages: `booted` is answered with a welcome, `online` and `offline` move the presence."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from device_gateway import dialects
from device_gateway.directory import StationRef
from device_gateway.intake import Arrived
from device_gateway.outbound import Outbound
from firmware_protocol.commands import Welcome
from firmware_protocol.messages import Booted, Offline
from firmware_protocol.types import ResetCause
from fleet.devices import credentials, sessions
from fleet.devices.configuration import reports
from fleet.devices.configuration.reports import BootWord
from fleet.devices.identity_models import CredentialKind
from fleet.devices.sessions import BootAnswer, BootNotice, OfflineNotice, Standing

#: How long a cabinet may take to answer the inventory that every boot asks for.
INVENTORY_WITHIN: Final = timedelta(seconds=60)
#: The cabinet has not restarted, or does not know: it need not show its slots.
_NO_START: Final = frozenset({ResetCause.RECONNECT, ResetCause.UNKNOWN})
#: What a cabinet is told while the database is away; it adds up to half of it by chance.
RETRY_AFTER_S: Final = 20


def take(
    session: Session, arrived: Sequence[Arrived], now: datetime, *, telemetry_s: int, asks_later: bool = True
) -> Outbound:
    """Apply session messages of known stations; the caller commits, then sends what is returned.

    `asks_later`: cabinets that are to show their slots by themselves, and do not, are asked by somebody else.
    """
    outbound = Outbound()
    boots = [_notice(each, asks_later=asks_later) for each in arrived if isinstance(each.frame.message, Booted)]
    refs = {each.station.id: each.station for each in arrived}
    if boots:
        answers = sessions.open_sessions(session, boots, now, inventory_deadline=now + INVENTORY_WITHIN)
        reports.booted(session, [_boot_word(each.notice) for each in answers if each.standing is Standing.OPENED])
        _confirm(session, [each.notice for each in answers], now)
        wanted = reports.wanted_versions(session, [each.notice.station_id for each in answers])
        for answer in answers:
            ref = refs[answer.notice.station_id]
            outbound.control(ref, _welcome(answer, ref, now, telemetry_s, wanted.get(ref.id, 0)))
    ends = [
        OfflineNotice(each.station.id, each.frame.message)
        for each in arrived
        if isinstance(each.frame.message, Offline)
    ]
    if ends:
        sessions.close_sessions(session, ends, now)
    return outbound


def _confirm(session: Session, notices: Sequence[BootNotice], now: datetime) -> None:
    """A certificate that a session was opened with is in use. Signing keys show themselves (`guard`)."""
    used = {(each.station_id, each.booted.credential) for each in notices if each.booted.credential is not None}
    for station_id, key_id in sorted(credentials.unconfirmed(session, used)):
        credentials.confirm(session, station_id, key_id, now, kind=CredentialKind.CERTIFICATE)


def not_ready(boots: Sequence[Arrived], now: datetime) -> Outbound:
    """What can be said without a database: try again later."""
    outbound = Outbound()
    for each in boots:
        message, ref = each.frame.message, each.station
        if isinstance(message, Booted):
            wait = Welcome(
                epoch=message.epoch,
                server_ms=_ms(now),
                heartbeat_s=ref.heartbeat_s,
                telemetry_s=ref.heartbeat_s,
                retry_after_s=RETRY_AFTER_S,
            )
            outbound.messages.append(dialects.named(ref.dialect).encode_control(ref.code, wait))
    return outbound


def _welcome(answer: BootAnswer, ref: StationRef, now: datetime, telemetry_s: int, config_version: int) -> Welcome:
    return Welcome(
        epoch=answer.notice.booted.epoch,
        server_ms=_ms(now),
        heartbeat_s=ref.heartbeat_s,
        telemetry_s=telemetry_s,
        config_version=config_version,
        boot_floor=answer.boot_floor,
        epoch_floor=answer.epoch_floor,
        # The gate stays shut for an epoch that is over; a live session ignores a welcome that is not for it.
        retry_after_s=RETRY_AFTER_S if answer.standing is Standing.STALE else None,
    )


def _notice(each: Arrived, *, asks_later: bool) -> BootNotice:
    frame = each.frame
    assert isinstance(frame.message, Booted)
    able = dialects.CAPABILITIES[each.station.dialect]
    return BootNotice(
        station_id=each.station.id,
        boot=frame.boot,
        booted=frame.message,
        at_ms=frame.at_ms,
        received_at=each.received.received_at,
        shows_slots=asks_later and able.shows_slots and frame.message.reset_cause not in _NO_START,
    )


def _boot_word(notice: BootNotice) -> BootWord:
    booted = notice.booted
    return BootWord(notice.station_id, notice.boot, booted.config_version, booted.reset_cause is ResetCause.UPDATE)


def _ms(now: datetime) -> int:
    return round(now.timestamp() * 1000)
