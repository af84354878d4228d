"""Wake-ups through PostgreSQL NOTIFY. They carry ids only, arrive after commit, and losing one loses only time."""

from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.orm import Session


class Channel(StrEnum):
    #: A device command waits (payload: station id).
    DEVICE_COMMAND = "vb_device_command"
    #: A device's credential changed: the broker must hear of it (no payload).
    CREDENTIAL = "vb_credential"
    #: An outbox event waits (no payload).
    OUTBOX = "vb_outbox"
    #: A rental changed (payload: rental id).
    RENTAL = "vb_rental"
    #: A station changed what its page shows (payload: station id).
    STATION = "vb_station"
    #: Configuration changed (payload: key).
    CONFIG = "vb_config"


def notify(session: Session, channel: Channel, payload: str = "") -> None:
    """NOTIFY when the transaction commits; equal notifications of one transaction are merged by PostgreSQL."""
    session.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": channel.value, "payload": payload})
