from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum


class ConfigScope(StrEnum):
    """From the widest to the narrowest; what a station itself is told (`DeviceConfig.overrides`) comes last."""

    DIALECT = "dialect"
    MODEL = "model"
    GROUP = "group"


class DeviceGroup(Base):
    """Stations that are configured, and get new firmware, together. A station may be in several."""

    __tablename__ = "device_group"
    __table_args__ = (CheckConstraint("name ~ '^[A-Za-z0-9._-]{1,64}$'", name="name"),)

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    description: Mapped[str] = mapped_column(String(300), default="", server_default="")
    #: Of two groups that set the same key, the higher rank wins; of equal ranks the later name.
    rank: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime]


class DeviceGroupMember(Base):
    __tablename__ = "device_group_member"

    group_id: Mapped[int] = mapped_column(ForeignKey("device_group.id", ondelete="CASCADE"), primary_key=True)
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True, index=True)


class DeviceConfigLayer(Base):
    """What all stations of one dialect, model or group are told, unless something narrower says otherwise."""

    __tablename__ = "device_config_layer"
    __table_args__ = (UniqueConstraint("scope", "name"),)

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    scope: Mapped[ConfigScope] = mapped_column(text_enum(ConfigScope, 16))
    #: A dialect's name, a hardware model, a group's name.
    name: Mapped[str] = mapped_column(String(100))
    values: Mapped[dict[str, Any]]
    #: Rises with every change: an operator who saw an older one is refused.
    version: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[datetime]
    updated_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))


class DeviceConfig(Base):
    """What one station should have, what it says it has, and how far apart that is."""

    __tablename__ = "device_config"
    __table_args__ = (
        Index("ix_device_config_stale", "station_id", postgresql_where=text("stale")),
        Index("ix_device_config_pending", "station_id", postgresql_where=text("version <> accepted_version")),
        Index("ix_device_config_drifted", "station_id", postgresql_where=text("drifted")),
        CheckConstraint("version >= 0 AND accepted_version >= 0", name="versions"),
    )

    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    #: The narrowest layer.
    overrides: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    overrides_version: Mapped[int] = mapped_column(default=0, server_default="0")
    #: All layers put together; null: the cabinet's own default. A change raises `version`, which the cabinet is told.
    desired: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    version: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    desired_at: Mapped[datetime | None]
    #: A layer changed (or the station did): `desired` is to be put together anew.
    stale: Mapped[bool] = mapped_column(default=False, server_default="false")

    #: The set_config under way, and how often this version was sent in vain.
    command_id: Mapped[UUID | None] = mapped_column(ForeignKey("device_command.id"), index=True)
    tries: Mapped[int] = mapped_column(default=0, server_default="0")
    next_try_at: Mapped[datetime | None]
    #: The version that the cabinet would not have, and its reason. Not sent again until something changes.
    refused_version: Mapped[int | None] = mapped_column(BigInteger)
    refused_code: Mapped[str | None] = mapped_column(String(256))
    refused_at: Mapped[datetime | None]

    #: What the cabinet last said it has, and which event said so (seq 0: its `booted`).
    accepted_version: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    reported: Mapped[dict[str, Any] | None]
    reported_at: Mapped[datetime | None]
    seen_boot: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    seen_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: At the wanted version, and yet with other values.
    drifted: Mapped[bool] = mapped_column(default=False, server_default="false")
