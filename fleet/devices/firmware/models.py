from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk


class ReleaseState(StrEnum):
    #: Signed and known; its image has not been brought yet.
    NO_IMAGE = "no_image"
    READY = "ready"
    #: Nothing new starts with it, and its image is not served any more.
    WITHDRAWN = "withdrawn"


class RolloutState(StrEnum):
    #: Nobody has approved it: nothing is sent.
    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    #: Stopped by itself: too many of a group failed.
    HALTED = "halted"
    #: A group is through; a person says when the next one starts.
    WAITING = "waiting"
    COMPLETED = "completed"
    ABORTED = "aborted"


class TargetState(StrEnum):
    #: Its turn has not come, or it is offline or busy.
    WAITING = "waiting"
    #: Told to update.
    OFFERED = "offered"
    #: The cabinet has said that it is at it.
    UPDATING = "updating"
    #: The cabinet says that the image is verified and starts next.
    STARTING = "starting"
    #: `booted` came with the new version.
    UPDATED = "updated"
    FAILED = "failed"
    #: The deadline passed. It may still come back with the new version.
    TIMED_OUT = "timed_out"
    #: Never told, and will not be.
    SKIPPED = "skipped"


class FirmwareRoot(Base):
    """One version of the root of trust, as it was signed. Public keys only."""

    __tablename__ = "firmware_root"
    __table_args__ = (CheckConstraint("version >= 1", name="version"),)

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))


class FirmwareRelease(Base):
    """A signed release. What is in columns is what the envelope says, for queries; cabinets get the envelope."""

    __tablename__ = "firmware_release"
    __table_args__ = (
        UniqueConstraint("digest"),
        Index(None, "version"),
        CheckConstraint("size > 0 AND counter > 0", name="size"),
    )

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    #: SHA-256 of the signed payload: the same release is added once, whoever signed it in which order.
    digest: Mapped[str] = mapped_column(String(64))
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    version: Mapped[str] = mapped_column(String(64))
    counter: Mapped[int] = mapped_column(BigInteger)
    hardware: Mapped[list[Any]]
    min_version: Mapped[str | None] = mapped_column(String(64))
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[ReleaseState] = mapped_column(text_enum(ReleaseState, 16), default=ReleaseState.NO_IMAGE)
    notes: Mapped[str] = mapped_column(String(2000), default="", server_default="")
    created_at: Mapped[datetime]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))


class FirmwareRollout(Base):
    """One release on its way through the fleet, group by group. Every change of it holds its row's lock."""

    __tablename__ = "firmware_rollout"
    __table_args__ = (
        Index("ix_firmware_rollout_open", "id", postgresql_where=text("state NOT IN ('completed', 'aborted')")),
        CheckConstraint("failure_pct BETWEEN 0 AND 100", name="failure_pct"),
        CheckConstraint("per_minute BETWEEN 1 AND 6000", name="per_minute"),
        CheckConstraint("device_deadline_s BETWEEN 30 AND 604800", name="device_deadline_s"),
    )

    id: Mapped[UUID] = uuid_pk()
    name: Mapped[str] = mapped_column(String(200))
    release_id: Mapped[int] = mapped_column(ForeignKey("firmware_release.id"), index=True)
    state: Mapped[RolloutState] = mapped_column(text_enum(RolloutState, 16), default=RolloutState.DRAFT)
    #: Why it is in this state, when it did not get there by an operator's word.
    reason: Mapped[str | None] = mapped_column(String(300))
    #: More than this share of a group failed: halted.
    failure_pct: Mapped[int]
    per_minute: Mapped[int]
    device_deadline_s: Mapped[int]
    #: Groups up to this one have begun; 0: none.
    current_group: Mapped[int] = mapped_column(default=0, server_default="0")
    #: The next station is told no earlier: what `per_minute` leaves between two.
    next_offer_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    approved_at: Mapped[datetime | None]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    ended_at: Mapped[datetime | None]


class FirmwareRolloutGroup(Base):
    """A step of a rollout; its stations were chosen when the rollout was made."""

    __tablename__ = "firmware_rollout_group"
    __table_args__ = (CheckConstraint("number >= 1 AND size >= 1 AND forgiven >= 0", name="number"),)

    rollout_id: Mapped[UUID] = mapped_column(ForeignKey("firmware_rollout.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    #: How its stations were chosen.
    selector: Mapped[dict[str, Any]]
    size: Mapped[int]
    #: Begins when the group before is through; otherwise a person says so.
    starts_by_itself: Mapped[bool] = mapped_column(default=False, server_default="false")
    #: Failures that an operator has looked at and resumed in spite of.
    forgiven: Mapped[int] = mapped_column(default=0, server_default="0")


class FirmwareRolloutTarget(Base):
    """One station of a rollout."""

    __tablename__ = "firmware_rollout_target"
    __table_args__ = (
        ForeignKeyConstraint(
            ["rollout_id", "group_number"], ["firmware_rollout_group.rollout_id", "firmware_rollout_group.number"]
        ),
        # A station is told of one release at a time, whatever rollouts there are.
        Index(
            "uq_firmware_rollout_target_under_way",
            "station_id",
            unique=True,
            postgresql_where=text("state IN ('offered', 'updating', 'starting')"),
        ),
        Index("ix_firmware_rollout_target_state", "rollout_id", "group_number", "state"),
        Index(
            "ix_firmware_rollout_target_unproven",
            "station_id",
            postgresql_where=text("state IN ('offered', 'updating', 'starting', 'failed', 'timed_out')"),
        ),
    )

    rollout_id: Mapped[UUID] = mapped_column(ForeignKey("firmware_rollout.id"), primary_key=True)
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    group_number: Mapped[int]
    state: Mapped[TargetState] = mapped_column(text_enum(TargetState, 16), default=TargetState.WAITING)
    from_version: Mapped[str | None] = mapped_column(String(256))
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    command_id: Mapped[UUID | None] = mapped_column(ForeignKey("device_command.id"), index=True)
    offered_at: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    #: The cabinet's own words on how far it is.
    phase: Mapped[str | None] = mapped_column(String(256))
    progress_pct: Mapped[int | None]
    progress_boot: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    progress_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: Why it failed.
    code: Mapped[str | None] = mapped_column(String(256))
    changed_at: Mapped[datetime]


class FirmwareRolloutEvent(Base):
    """Append-only: everything that happened in a rollout, to whom and by whom."""

    __tablename__ = "firmware_rollout_event"
    __table_args__ = (Index(None, "rollout_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    rollout_id: Mapped[UUID] = mapped_column(ForeignKey("firmware_rollout.id"))
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    #: `rollout: running → halted`, or a target's move.
    what: Mapped[str] = mapped_column(String(16))
    before: Mapped[str | None] = mapped_column(String(16))
    after: Mapped[str] = mapped_column(String(16))
    #: None: the rollout by itself.
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    detail: Mapped[dict[str, Any]]
    at: Mapped[datetime]
