from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    ForeignKey,
    Identity,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from firmware_protocol.types import SlotState, StationFaultKind
from fleet.db import Base, text_enum


class StationStatus(StrEnum):
    """What an operator wants of a station. Presence is another matter (`online`)."""

    ACTIVE = "active"
    MAINTENANCE = "maintenance"
    DISABLED = "disabled"


class PowerBankState(StrEnum):
    """What may be done with a bank. In which slot it is, if in any, is another matter."""

    AVAILABLE = "available"
    RENTED = "rented"
    #: Left its slot and nobody knows with whom.
    MISSING = "missing"
    MAINTENANCE = "maintenance"
    DAMAGED = "damaged"
    QUARANTINED = "quarantined"
    LOST = "lost"


class MovementKind(StrEnum):
    """How a bank came or went. The last two are seen afterwards, and dated no earlier than what is known."""

    INSERTED = "inserted"
    EJECTED = "ejected"
    #: An inventory showed it where no event had told of it.
    FOUND = "found"
    #: An inventory did not show it where it should have been.
    VANISHED = "vanished"


class HealthKind(StrEnum):
    """What a `HealthEvent` tells: an incident (`rules.Incident`), or what was done about it."""

    JAM = "jam"
    CHARGE = "charge"
    COMMUNICATION = "communication"
    SHORT = "short"
    SENSOR = "sensor"
    ANTI_THEFT = "anti_theft"
    FAILED_EJECT = "failed_eject"
    NOT_TAKEN = "not_taken"
    QUICK_RETURN = "quick_return"
    DISABLED = "disabled"
    ENABLED = "enabled"
    QUARANTINED = "quarantined"
    FLAGGED = "flagged"


class Venue(Base):
    """A place with one name and any number of stations: a mall, a chain's shop, an airport."""

    __tablename__ = "venue"
    __table_args__ = (CheckConstraint("code ~ '^[A-Za-z0-9._-]{1,64}$'", name="code"),)

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    code: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str | None] = mapped_column(String(300))
    city: Mapped[str | None] = mapped_column(String(100))
    country: Mapped[str | None] = mapped_column(ForeignKey("country.iso_code"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Station(Base):
    """A cabinet, and the place where it stands in degrees of WGS 84."""

    __tablename__ = "station"
    __table_args__ = (
        CheckConstraint("latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180", name="position"),
        CheckConstraint("code ~ '^[A-Za-z0-9._-]{1,64}$'", name="code"),
        Index(None, "latitude", "longitude"),
    )

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    code: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    address: Mapped[str | None] = mapped_column(String(300))
    city: Mapped[str | None] = mapped_column(String(100), index=True)
    country: Mapped[str | None] = mapped_column(ForeignKey("country.iso_code"))
    venue_id: Mapped[int | None] = mapped_column(ForeignKey("venue.id"), index=True)
    latitude: Mapped[float] = mapped_column(Float(53))
    longitude: Mapped[float] = mapped_column(Float(53))
    #: H3 index at resolution 8 (cells of about 0.7 km²), as a signed 64-bit integer.
    h3_cell: Mapped[int] = mapped_column(BigInteger, index=True)
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC", server_default="UTC")
    status: Mapped[StationStatus] = mapped_column(text_enum(StationStatus, 16), default=StationStatus.ACTIVE)
    dialect: Mapped[str] = mapped_column(String(32), default="native", server_default="native")
    hardware_model: Mapped[str | None] = mapped_column(String(100))
    #: What a vendor's cabinet calls itself (IMEI, MAC, box id): operators enter it, and no other cabinet is let in.
    hardware_id: Mapped[str | None] = mapped_column(String(64), unique=True)
    firmware_version: Mapped[str | None] = mapped_column(String(256))
    slot_count: Mapped[int]
    #: Presence, as the device plane last knew it.
    online: Mapped[bool] = mapped_column(default=False, server_default="false")
    online_changed_at: Mapped[datetime | None]
    #: Written at most once in a few seconds; the exact value is the session's.
    last_heard_at: Mapped[datetime | None]
    #: What the backend asks for.
    heartbeat_s: Mapped[int] = mapped_column(default=30, server_default="30")
    #: What it really does where that is slower, and the silence after which it is away; NULL: as the settings say.
    period_s: Mapped[float | None]
    silent_after_s: Mapped[float | None]
    #: By its last heartbeat: fed by mains, or by its own battery.
    mains: Mapped[bool | None]
    #: Of the cabinet, by its last heartbeat, to the degree; NULL: it does not tell.
    temperature_c: Mapped[float | None]
    #: Why it is not online.
    offline_cause: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    slots: Mapped[list["StationSlot"]] = relationship(
        back_populates="station", lazy="raise", order_by="StationSlot.number"
    )


class StationSlot(Base):
    """One slot. A fact is applied only when newer than (observed_boot, observed_seq): order of arrival is nothing."""

    __tablename__ = "station_slot"
    __table_args__ = (
        UniqueConstraint("station_id", "number"),
        CheckConstraint("number BETWEEN 1 AND 512", name="number"),
        CheckConstraint("power_bank_id IS NULL OR state <> 'empty'", name="empty_holds_nothing"),
    )

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    number: Mapped[int]
    state: Mapped[SlotState] = mapped_column(text_enum(SlotState, 16), default=SlotState.UNKNOWN)
    locked: Mapped[bool | None] = mapped_column(Boolean)
    #: The event `locked` comes from: locks come in bulk, beside the facts that move (observed_boot, observed_seq).
    lock_boot: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    lock_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: A bank is in at most one slot (unique), a slot holds at most one bank (one column).
    power_bank_id: Mapped[int | None] = mapped_column(ForeignKey("power_bank.id"), unique=True)
    #: Set by an operator or by the health rules; inventories never clear it.
    disabled_reason: Mapped[str | None] = mapped_column(String(200))
    #: 100 is best. Incidents take from it, and below `rules.HEALTHY` no bank is given from here.
    health_score: Mapped[int] = mapped_column(default=100, server_default="100")
    fault: Mapped[str | None] = mapped_column(String(32))
    #: The event `fault` comes from: faults move beside what the slot holds.
    fault_boot: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    fault_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    #: An operator put the slot right then: what went wrong before counts no more.
    health_since: Mapped[datetime | None]
    #: The rental an eject is under way for.
    reserved_for: Mapped[UUID | None]
    #: A rider did not take the bank here a short while ago: look twice.
    watched_until: Mapped[datetime | None]
    observed_boot: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    observed_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    observed_at: Mapped[datetime | None]
    #: The newest word that proved what was inside: a serial, nothing, an insertion. Something unreadable is no proof.
    proven_at: Mapped[datetime | None]
    #: The bank that the cabinet itself says is here, wherever newer words of others have put it, and since when.
    told_bank_id: Mapped[int | None] = mapped_column(ForeignKey("power_bank.id"), index=True)
    told_since: Mapped[datetime | None]

    station: Mapped[Station] = relationship(back_populates="slots", lazy="raise")
    power_bank: Mapped["PowerBank | None"] = relationship(lazy="raise", foreign_keys=[power_bank_id])


class PowerBank(Base):
    """One bank, by the serial on its label. Charge and health in per cent, as cabinets tell them; None: never told."""

    __tablename__ = "power_bank"
    __table_args__ = (CheckConstraint("charge_pct BETWEEN 0 AND 100", name="charge_pct"),)

    id: Mapped[int] = mapped_column(Identity(always=False), primary_key=True)
    serial: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[PowerBankState] = mapped_column(
        text_enum(PowerBankState, 16), default=PowerBankState.AVAILABLE, index=True
    )
    #: False for a serial that a cabinet reported and nobody entered: foreign until an operator adopts it.
    known: Mapped[bool] = mapped_column(default=True, server_default="true")
    charge_pct: Mapped[int | None]
    #: When `charge_pct` was told, by a sample or by an event: neither overwrites a newer word of the other.
    charge_at: Mapped[datetime | None]
    #: The word of a cabinet that tells no `charge_pct`: whether it is charged enough to be given. Over once it moves.
    ready: Mapped[bool | None]
    cycles: Mapped[int | None]
    #: Per cent of a whole charge that riders took out of it, in all: a hundred are a cycle.
    discharged_pct: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    health_pct: Mapped[int | None]
    temperature_c: Mapped[float | None]
    capacity_mah: Mapped[int | None]
    quarantine_reason: Mapped[str | None] = mapped_column(String(200))
    #: Who set `state` when it was no cabinet and no rental (`operator`, or the rule's name): then it stands, LOST too.
    state_set_by: Mapped[str | None] = mapped_column(String(32))
    #: The health at which the rules last took it out of use: released, it is not judged again until it is worse.
    worn_judged_pct: Mapped[int | None]
    #: When it had reached the cycles at which somebody should look at it.
    flagged_at: Mapped[datetime | None]
    #: The newest sample: how old the temperature is. An event that tells a charge says nothing of it.
    sampled_at: Mapped[datetime | None]
    #: The newest event that told where the bank is, or that it left: older ones never move it (decision 0031).
    seen_station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    seen_boot: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    seen_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    seen_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PowerBankMovement(Base):
    """Append-only: every time a bank came or went. `evidence` names the device event (boot:seq)."""

    __tablename__ = "power_bank_movement"
    __table_args__ = (
        Index(None, "power_bank_id", "at"),
        Index(None, "station_id", "at"),
        UniqueConstraint("station_id", "boot", "seq", "power_bank_id", "kind"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    power_bank_id: Mapped[int] = mapped_column(ForeignKey("power_bank.id"))
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    slot_number: Mapped[int]
    kind: Mapped[MovementKind] = mapped_column(text_enum(MovementKind, 16))
    #: The rental this movement belongs to; a plain id because rentals are above stations.
    rental_id: Mapped[UUID | None] = mapped_column(index=True)
    charge_pct: Mapped[int | None]
    boot: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]


class StationFaultState(Base):
    """What is wrong with a cabinet as a whole, by kind: the newest event of that kind."""

    __tablename__ = "station_fault"

    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    kind: Mapped[StationFaultKind] = mapped_column(text_enum(StationFaultKind, 32), primary_key=True)
    active: Mapped[bool]
    detail: Mapped[str | None] = mapped_column(String(256))
    boot: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]


class HealthEvent(Base):
    """Append-only: what went wrong with a slot or a bank, and what was done about it."""

    __tablename__ = "health_event"
    __table_args__ = (
        Index("uq_health_event_source", "station_id", "slot_number", "kind", "source", unique=True),
        Index(None, "station_id", "slot_number", "at"),
        Index(None, "power_bank_id", "at"),
        Index(None, "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    slot_number: Mapped[int | None]
    power_bank_id: Mapped[int | None] = mapped_column(ForeignKey("power_bank.id"))
    kind: Mapped[HealthKind] = mapped_column(text_enum(HealthKind, 16))
    #: What told of it (`boot:seq` of a device event, id of a command or a rental): each tells of one incident.
    source: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(String(200))
    at: Mapped[datetime]


class StationStatusHistory(Base):
    """Append-only: one row per change of presence, or of what operators want of the station, with its cause."""

    __tablename__ = "station_status_history"
    __table_args__ = (Index(None, "station_id", "at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    online: Mapped[bool]
    #: Why; of a change by people, `operator`.
    cause: Mapped[str] = mapped_column(String(32))
    #: When it was noticed, and since when it was so (a silent station was last heard then); NULL: the same.
    at: Mapped[datetime]
    since: Mapped[datetime | None]
    status: Mapped[StationStatus | None] = mapped_column(text_enum(StationStatus, 16))
    #: What brought it about: booted, will, silence, heard, operator.
    trigger: Mapped[str | None] = mapped_column(String(16))
    evidence: Mapped[dict[str, Any] | None]
