"""Banks that left a cabinet and that no rental explains."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum, uuid_pk
from fleet.stations.models import PowerBank, Station


class CaseState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"


class OrphanBankCase(Base):
    """A bank left a cabinet and no rental explains it. An operator closes it, or the bank does by coming back."""

    __tablename__ = "orphan_bank_case"
    __table_args__ = (
        Index("uq_orphan_bank_case_open", "power_bank_id", unique=True, postgresql_where=text("state = 'open'")),
    )

    id: Mapped[UUID] = uuid_pk()
    power_bank_id: Mapped[int] = mapped_column(ForeignKey("power_bank.id"))
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    slot_number: Mapped[int]
    reason: Mapped[str] = mapped_column(String(64))
    #: The closed rental it may belong to, for the operator to look at.
    rental_id: Mapped[UUID | None] = mapped_column(ForeignKey("rental.id"))
    evidence: Mapped[dict[str, Any]]
    state: Mapped[CaseState] = mapped_column(text_enum(CaseState, 16), default=CaseState.OPEN)
    opened_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[str | None] = mapped_column(String(300))

    power_bank: Mapped[PowerBank] = relationship(lazy="raise", viewonly=True)
    station: Mapped[Station] = relationship(lazy="raise", viewonly=True)
