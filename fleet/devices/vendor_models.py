"""What is kept of vendors' cabinets beside their frames."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum


class DeviceProfile(Base):
    """What is known of one vendor's cabinet that its frames do not say. Locked while a frame of it is taken in."""

    __tablename__ = "device_profile"

    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    #: Holes board by board ([[first, last], …]) as the first complete inventory showed them; others are refused.
    layout: Mapped[list[Any] | None]
    commissioned_at: Mapped[datetime | None]
    #: Which revision of its protocol it speaks, once a frame told them apart or an operator entered it.
    revision: Mapped[str | None] = mapped_column(String(8))
    #: Set by an operator for a cabinet known to send wrong check bytes.
    tolerate_checksum: Mapped[bool] = mapped_column(default=False, server_default="false")
    #: What its frames are signed with, where the dialect signs: entered by an operator, sealed under the settings' key.
    sealed_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Since when its inventories are refused; the last one taken stands meanwhile.
    stale_since: Mapped[datetime | None]
    stale_reason: Mapped[str | None] = mapped_column(String(200))
    #: The last HTTP call `connect`: what it said of itself, and from where. Anybody can send one.
    connected_at: Mapped[datetime | None]
    connected_from: Mapped[str | None] = mapped_column(String(64))
    firmware: Mapped[str | None] = mapped_column(String(256))
    #: Revoked by an operator, and not re-admitted since: it gets no secret, and is not let in.
    locked_out_at: Mapped[datetime | None]


class Doubt(StrEnum):
    """Why a call of `connect` may be somebody else's."""

    #: The cabinet was connected: it has restarted, or is not the one that called.
    CONNECTED = "connected"
    #: It came from another network than the cabinet's last one.
    NETWORK = "network"


class DeviceCall(Base):
    """An HTTP call of a vendor's cabinet, as it came. None is trusted alone: its signature has no secret."""

    __tablename__ = "device_call"
    __table_args__ = (
        Index(None, "station_id", "id"),
        Index(None, "received_at", postgresql_using="brin"),
        Index("ix_device_call_doubted", "received_at", postgresql_where=text("doubt IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    kind: Mapped[str] = mapped_column(String(16))
    #: Path and query.
    target: Mapped[str] = mapped_column(String(2000))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    source: Mapped[str] = mapped_column(String(64))
    signed: Mapped[bool]
    doubt: Mapped[Doubt | None] = mapped_column(text_enum(Doubt, 16))
    received_at: Mapped[datetime]
