"""Having a device fetch a new credential: a command with a one-time token, answered over HTTPS."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from firmware_protocol.commands import RotateCredential
from fleet.devices import claim_tokens
from fleet.devices.commands import queue_command
from fleet.devices.models import DeviceCommand


def start_rotation(
    session: Session,
    station_id: int,
    *,
    url: str,
    deadline: datetime,
    now: datetime,
    requested_by: UUID | None = None,
    request_id: str | None = None,
) -> DeviceCommand:
    """Queue `rotate_credential`; a new credential is good beside the old one until the device has used it once.

    `url` is where the token is exchanged. The command names no secret that is of use by itself: the exchange takes the
    credential in force as well. Raises NotProvisioned.
    """
    token = claim_tokens.rotation_token(session, station_id, expires_at=deadline, now=now, created_by=requested_by)
    return queue_command(
        session,
        station_id=station_id,
        command=RotateCredential(url=url, token=token),
        deadline=deadline,
        now=now,
        requested_by=requested_by,
        request_id=request_id,
    )
