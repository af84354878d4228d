from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from firmware_protocol.types import CommandOutcome
from fleet.db import Base, text_enum, uuid_pk


class CommandState(StrEnum):
    #: Waiting for the gateway.
    QUEUED = "queued"
    #: Claimed by a gateway and (about to be) published; the answer is awaited.
    SENT = "sent"
    #: No answer by the deadline: nobody knows, an inventory decides.
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: The deadline passed while it was still queued: it certainly moved nothing.
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    #: The limit passed and the station never told; kept apart from FAILED because nobody knows.
    ABANDONED = "abandoned"


class CommandPurpose(StrEnum):
    """Why the backend itself asks for an inventory, or has a cabinet restart."""

    #: A connection has begun.
    CONNECTED = "connected"
    #: It is heard again after silence.
    HEARD_AGAIN = "heard_again"
    #: An eject is in doubt, or a cabinet contradicted our picture.
    DOUBT = "doubt"
    #: It is time. The only one that waits while an eject is under way.
    PERIODIC = "periodic"


class DeadLetterState(StrEnum):
    WAITING = "waiting"
    #: Somebody wants it run again; a gateway will.
    REQUESTED = "requested"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class DeviceSession(Base):
    """One connection of one cabinet. The open one (ended_at NULL) is the current one; at most one per station."""

    __tablename__ = "device_session"
    __table_args__ = (
        Index("uq_device_session_open", "station_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_device_session_open_last_seen_at", "last_seen_at", postgresql_where=text("ended_at IS NULL")),
    )

    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    boot: Mapped[int] = mapped_column(BigInteger)
    firmware: Mapped[str] = mapped_column(String(256))
    hardware: Mapped[str] = mapped_column(String(256))
    iccid: Mapped[str | None] = mapped_column(String(256))
    reset_cause: Mapped[str] = mapped_column(String(16))
    #: Highest boot known from before this start, as it was told in the welcome.
    boot_floor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    connected_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    cause: Mapped[str | None] = mapped_column(String(32))
    #: The first word after it was ended by silence; a second one opens it again.
    heard_again_at: Mapped[datetime | None]
    #: The gateway that holds the connection, where commands can only be sent through it (TCP).
    held_by: Mapped[str | None] = mapped_column(String(64))


class DeviceStream(Base):
    """How far the events of one boot of one cabinet have been applied; locked while a batch applies more of them."""

    __tablename__ = "device_stream"
    __table_args__ = (
        Index("ix_device_stream_open", "station_id", postgresql_where=text("closed_at IS NULL")),
        Index("ix_device_stream_gap_since", "gap_since", postgresql_where=text("gap_since IS NOT NULL")),
    )

    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    boot: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    #: Every event up to this seq is stored (or declared lost): what the cabinet may forget.
    acked_through: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: Every event up to this seq is applied, or was given up after the wait.
    applied_through: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: Highest seq stored; above applied_through it means that events wait for a gap to fill.
    seen_through: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: Known once a later boot declares its journal: nothing of this boot exists above it.
    last_seq: Mapped[int | None] = mapped_column(BigInteger)
    #: Server clock minus cabinet clock in ms, by the live messages of this boot.
    clock_offset_ms: Mapped[int | None] = mapped_column(BigInteger)
    #: Ranges [first, last] that the cabinet declared lost: nobody waits for them, and what comes of them still counts.
    lost: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    #: Since when something waits here without progress.
    gap_since: Mapped[datetime | None]
    resend_asked_at: Mapped[datetime | None]
    #: All of this boot is applied and a later boot has begun.
    closed_at: Mapped[datetime | None]


class DeviceEvent(Base):
    """The inbox: (station, boot, seq) once. `applied_at` NULL: it waits for an earlier event, or lies in `dead_letter`.

    No foreign key: rows are written under the lock of their `DeviceStream`, which has one, and a check per event would
    cost as much as the insert.
    """

    __tablename__ = "device_event"
    __table_args__ = (
        Index("ix_device_event_waiting", "station_id", "boot", "seq", postgresql_where=text("applied_at IS NULL")),
        Index(None, "received_at", postgresql_using="brin"),
    )

    station_id: Mapped[int] = mapped_column(primary_key=True)
    boot: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    type: Mapped[str] = mapped_column(String(40))
    #: The cabinet's own clock, uncorrected.
    at_ms: Mapped[int | None] = mapped_column(BigInteger)
    received_at: Mapped[datetime]
    replayed: Mapped[bool]
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    #: 1 JSON, 2 CBOR, as the content type or the first byte told; 3 a vendor's frame, read as `message` says.
    encoding: Mapped[int] = mapped_column(SmallInteger)
    message: Mapped[dict[str, Any] | None]
    applied_at: Mapped[datetime | None]


class DeviceSample(Base):
    """Which samples were stored, so that a repeated one is stored once. Kept for a day."""

    __tablename__ = "device_sample"
    # Rows lie in the order of their receipt, and only the oldest are ever asked for, to drop them.
    __table_args__ = (Index(None, "received_at", postgresql_using="brin"),)

    station_id: Mapped[int] = mapped_column(primary_key=True)
    boot: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    received_at: Mapped[datetime]


class DeviceCommand(Base):
    """One order to one cabinet, from the decision to the verdict."""

    __tablename__ = "device_command"
    __table_args__ = (
        # One eject in flight per station, whatever the code does. UNKNOWN counts: nobody knows whether it still moves.
        Index(
            "uq_device_command_eject_in_flight",
            "station_id",
            unique=True,
            postgresql_where=text("kind = 'eject_power_bank' AND state IN ('sent', 'unknown')"),
        ),
        Index("ix_device_command_queued", "station_id", "created_at", postgresql_where=text("state = 'queued'")),
        Index("ix_device_command_open_deadline", "deadline", postgresql_where=text("state IN ('queued', 'sent')")),
        Index("ix_device_command_unknown", "station_id", postgresql_where=text("state = 'unknown'")),
        Index(None, "station_id", "created_at"),
        # Asked when an account is deleted.
        Index("ix_device_command_requested_by", "requested_by", postgresql_where=text("requested_by IS NOT NULL")),
        CheckConstraint("attempt >= 0", name="attempt"),
    )

    id: Mapped[UUID] = uuid_pk()
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    kind: Mapped[str] = mapped_column(String(40))
    args: Mapped[dict[str, Any]]
    state: Mapped[CommandState] = mapped_column(text_enum(CommandState, 16), default=CommandState.QUEUED)
    deadline: Mapped[datetime]
    attempt: Mapped[int] = mapped_column(default=0, server_default="0")
    #: A plain id because rentals are above devices.
    rental_id: Mapped[UUID | None] = mapped_column(index=True)
    requested_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    request_id: Mapped[str | None] = mapped_column(String(64))
    #: Only of what nobody ordered.
    purpose: Mapped[CommandPurpose | None] = mapped_column(text_enum(CommandPurpose, 16))
    created_at: Mapped[datetime]
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    sent_at: Mapped[datetime | None]
    #: Sent no earlier than this: a cabinet that has just moved a bank looks at its slots for some seconds.
    not_before: Mapped[datetime | None]
    #: An eject by a cabinet that ignores deadlines: an inventory asked for before this proves nothing about it.
    check_after: Mapped[datetime | None]
    #: The frame as it was published, for the trace.
    topic: Mapped[str | None] = mapped_column(String(200))
    payload: Mapped[bytes | None] = mapped_column(LargeBinary)
    settled_at: Mapped[datetime | None]
    outcome: Mapped[CommandOutcome | None] = mapped_column(text_enum(CommandOutcome, 16))
    code: Mapped[str | None] = mapped_column(String(256))
    result_slot: Mapped[int | None]
    result_serial: Mapped[str | None] = mapped_column(String(64))


class DeadLetter(Base):
    """A frame that could not be applied, with its bytes: looked at, mended and replayed by people."""

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index(None, "state", "id"),
        Index(None, "station_code", "id"),
        # Whether the same bytes wait already.
        Index("ix_dead_letter_same", text("md5(payload)"), postgresql_where=text("state IN ('waiting', 'requested')")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    topic: Mapped[str] = mapped_column(String(1000))
    station_code: Mapped[str | None] = mapped_column(String(64))
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    content_type: Mapped[str | None] = mapped_column(String(100))
    error_code: Mapped[str] = mapped_column(String(64), index=True)
    error: Mapped[str] = mapped_column(String(2000))
    received_at: Mapped[datetime]
    state: Mapped[DeadLetterState] = mapped_column(text_enum(DeadLetterState, 16), default=DeadLetterState.WAITING)
    replayed_at: Mapped[datetime | None]
    replay_error: Mapped[str | None] = mapped_column(String(2000))


class StationReconciliation(Base):
    """When a station's slots are looked at next, and whether it answers. Its own row: presence locks stations."""

    __tablename__ = "station_reconciliation"
    __table_args__ = (CheckConstraint("unanswered >= 0", name="unanswered"),)

    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)
    asked_at: Mapped[datetime | None]
    #: The last complete inventory.
    answered_at: Mapped[datetime | None]
    #: Questions since then.
    unanswered: Mapped[int] = mapped_column(default=0, server_default="0")


class BackendOutage(Base):
    """While no gateway listened: what stations did meanwhile nobody knows."""

    __tablename__ = "backend_outage"
    __table_args__ = (
        Index("uq_backend_outage_open", text("(until IS NULL)"), unique=True, postgresql_where=text("until IS NULL")),
        CheckConstraint("until IS NULL OR until >= since", name="times"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    #: `backend`: no gateway was alive; `broker`: those alive had no connection.
    cause: Mapped[str] = mapped_column(String(16))
    since: Mapped[datetime] = mapped_column(index=True)
    until: Mapped[datetime | None]


class GatewayInstance(Base):
    """One gateway process. While none is alive, silence says nothing about the cabinets."""

    __tablename__ = "gateway_instance"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    connected_since: Mapped[datetime | None]
