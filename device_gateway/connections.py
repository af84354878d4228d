"""Connections that are sessions (TCP): let in by a login, superseded by the newest one, over when they close.

Which gateway holds a station's connection is in the database (`device_session.held_by`): only that one takes frames of
it and sends commands to it. A gateway that is gone holds nothing any more once the cabinet has connected to another.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from device_gateway import intake
from device_gateway.ingest import Done
from device_gateway.intake import Foreign
from device_gateway.vendor_sessions import begin
from firmware_protocol.errors import ProtocolError
from firmware_protocol.messages import Booted, Offline
from firmware_protocol.types import OfflineCause, ResetCause
from firmware_protocol.vendor import Admission, Login, Reading
from fleet.common.vault import Vault
from fleet.devices import profiles, sessions
from fleet.devices.dead_letters import Rejected
from fleet.devices.errors import LockedOut
from fleet.devices.sessions import BootNotice, OfflineNotice

#: A frame of a connection that is not the station's any more, or that was never let in.
SUPERSEDED = "superseded_connection"
_NEWEST = text("""
SELECT (SELECT coalesce(max(epoch), 0) FROM device_session WHERE station_id = :id),
       (SELECT coalesce(max(boot), 0) FROM device_stream WHERE station_id = :id)
""")
_HOLD = text("UPDATE device_session SET held_by = :gateway WHERE station_id = :id AND epoch = :epoch")
_HELD = text("""
SELECT 1 FROM device_session
 WHERE station_id = :id AND epoch = :epoch AND held_by = :gateway AND ended_at IS NULL
""")


class Connections:
    """One transaction's worth; the caller commits."""

    def __init__(self, session: Session, gateway: str, vault: Vault, now: datetime, done: Done) -> None:
        self._session = session
        self._gateway = gateway
        self._vault = vault
        self._now = now
        self._done = done
        #: For the caller to keep.
        self.refused: list[Rejected] = []
        self._held: dict[tuple[int, int | None], bool] = {}

    def admits(self, each: Foreign) -> bool:
        """Whether the frame is to be read on; logins and ends of connections are dealt with here."""
        if not each.dialect.capabilities.connection_bound:
            return True
        if not each.received.payload:
            self._end(each)
            return False
        if each.dialect.is_login(each.received.payload):
            self._login(each)
            return False
        if self._holds(each):
            return True
        self._refuse(each, SUPERSEDED, "the station has a newer connection, or this one was not let in")
        return False

    def _login(self, each: Foreign) -> None:
        if profiles.locked_out(self._session, [each.station.id]):
            self._refuse(each, LockedOut.code, "an operator revoked the station")
            return
        known = profiles.known(self._session, [each.station.id], self._now, self._vault)[each.station.id]
        try:
            reading = each.dialect.read(each.received.topic, each.received.payload, known)
        except ProtocolError as error:
            self._refuse(each, error.code, str(error))
            return
        if reading.login is not None and reading.reply is not None:
            self._let_in(each, reading.login, reading)

    def _let_in(self, each: Foreign, login: Login, reading: Reading) -> None:
        """A new session, which ends the one before; it begins with an inventory."""
        station = each.station
        epoch, boot = self._session.execute(_NEWEST, {"id": station.id}).one()
        booted = Booted(
            epoch=epoch + 1,
            firmware=login.firmware,
            hardware=login.hardware,
            slots=login.slots or station.slot_count,
            reset_cause=ResetCause.UNKNOWN,
        )
        begin(self._session, [BootNotice(station.id, boot + 1, booted, None, each.received.received_at)], self._now)
        self._session.execute(_HOLD, {"gateway": self._gateway, "id": station.id, "epoch": epoch + 1})
        self._done.outbound.messages.append(
            Admission(
                topic=each.received.topic,
                payload=reading.reply or b"",
                qos=0,
                station_id=station.id,
                epoch=epoch + 1,
                heartbeat=reading.heartbeat,
            )
        )
        self._done.heard.add(station.id)
        self._held.clear()

    def _end(self, each: Foreign) -> None:
        epoch = each.sender.epoch
        if epoch and self._holds(each):
            notice = OfflineNotice(each.station.id, Offline(epoch=epoch, cause=OfflineCause.NETWORK))
            sessions.close_sessions(self._session, [notice], self._now)
            self._held.clear()

    def _holds(self, each: Foreign) -> bool:
        connection = each.station.id, each.sender.epoch
        held = self._held.get(connection)
        if held is None:
            asked = {"id": each.station.id, "epoch": each.sender.epoch, "gateway": self._gateway}
            held = self._held[connection] = self._session.execute(_HELD, asked).first() is not None
        return held

    def _refuse(self, each: Foreign, code: str, reason: str) -> None:
        self.refused.append(intake.reject(each.received, code, reason, each.station))
