from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base


class OutboxEvent(Base):
    """A fact that other processes must hear of, written in the transaction that made it true."""

    __tablename__ = "outbox_event"
    __table_args__ = (
        Index("ix_outbox_event_waiting", "id", postgresql_where=text("dispatched_at IS NULL")),
        Index(
            "ix_outbox_event_unsettled", "dispatched_at",
            postgresql_where=text("dispatched_at IS NOT NULL AND settled_at IS NULL"),
        ),
        Index("ix_outbox_event_settled_at", "settled_at"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    #: Handed to the queue, which may lose it.
    dispatched_at: Mapped[datetime | None]
    #: Every consumer has processed it (or it has none): nothing is left to do.
    settled_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")


class ProcessedEvent(Base):
    """One row per outbox event and consumer: what makes a task idempotent by event id."""

    __tablename__ = "processed_event"

    event_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    consumer: Mapped[str] = mapped_column(String(100), primary_key=True)
    processed_at: Mapped[datetime] = mapped_column(index=True)


class JobRun(Base):
    """The last run of one periodic job, and how many there were."""

    __tablename__ = "job_run"

    job: Mapped[str] = mapped_column(String(100), primary_key=True)
    runs: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    #: End of the last run that did not fail.
    succeeded_at: Mapped[datetime | None]
    #: Rows that the last run changed, if the job counts them.
    changed: Mapped[int | None] = mapped_column(BigInteger)
    #: Why the last run failed; NULL when it succeeded.
    error: Mapped[str | None] = mapped_column(String(300))


class IdempotencyKey(Base):
    """The answer to a POST, kept 24 h and replayed. `status` NULL: still being worked on."""

    __tablename__ = "idempotency_key"
    __table_args__ = (UniqueConstraint("scope", "key"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    #: Who sent it: a user id, or the client's address for guests. One caller cannot read another's answers.
    scope: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(255))
    route: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[bytes]
    request_id: Mapped[str | None] = mapped_column(String(64))
    status: Mapped[int | None]
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]


class Country(Base):
    __tablename__ = "country"
    __table_args__ = (CheckConstraint("iso_code ~ '^[A-Z]{2}$'", name="iso_code"),)

    iso_code: Mapped[str] = mapped_column(String(2), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    dial_code: Mapped[str] = mapped_column(String(6))
    currency: Mapped[str] = mapped_column(String(3))
    locale: Mapped[str] = mapped_column(String(16))
    time_zone: Mapped[str] = mapped_column(String(64))
    active: Mapped[bool] = mapped_column(default=True, server_default="true")
