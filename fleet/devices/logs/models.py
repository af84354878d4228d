from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk


class LogState(StrEnum):
    #: Nothing has come yet.
    REQUESTED = "requested"
    RECEIVING = "receiving"
    COMPLETE = "complete"
    #: Pieces are missing, and the cabinet was asked for them in vain; what came can be read.
    INCOMPLETE = "incomplete"
    #: More came than is kept: the pieces up to the limit can be read.
    TRUNCATED = "truncated"
    #: Nothing came, or the cabinet refused.
    FAILED = "failed"


class DeviceLog(Base):
    """One log collected from one cabinet. Its id is the `request_id` of the protocol."""

    __tablename__ = "device_log"
    __table_args__ = (
        Index(None, "station_id", "created_at"),
        Index("ix_device_log_open", "ask_again_at", postgresql_where=text("state IN ('requested', 'receiving')")),
        Index(None, "created_at"),
        CheckConstraint("chunks >= 0 AND size >= 0 AND size <= max_bytes", name="size"),
    )

    id: Mapped[UUID] = uuid_pk()
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    state: Mapped[LogState] = mapped_column(text_enum(LogState, 16), default=LogState.REQUESTED)
    #: Only lines from this time on.
    since: Mapped[datetime | None]
    max_bytes: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(300))
    requested_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    created_at: Mapped[datetime]
    #: The latest collect_logs for it.
    command_id: Mapped[UUID | None] = mapped_column(ForeignKey("device_command.id"))
    #: How often the cabinet was asked.
    asked: Mapped[int] = mapped_column(default=0, server_default="0")
    #: When to look whether pieces are missing; every piece that comes puts it off.
    ask_again_at: Mapped[datetime]
    #: Known once the piece marked `last` is here.
    last_index: Mapped[int | None]
    chunks: Mapped[int] = mapped_column(default=0, server_default="0")
    #: Before compression.
    size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    settled_at: Mapped[datetime | None]
    #: Why it failed, in the cabinet's words or ours.
    code: Mapped[str | None] = mapped_column(String(256))


class DeviceLogChunk(Base):
    """One piece, as a gzip member: put one after the other they are a gzip file (RFC 1952, 2.2)."""

    __tablename__ = "device_log_chunk"

    log_id: Mapped[UUID] = mapped_column(ForeignKey("device_log.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)
