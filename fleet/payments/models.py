from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Identity,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum, uuid_pk
from fleet.payments.approval_models import TwoPeople, two_people_rules


# Which side of each is its normal one: `rules.NORMAL_SIDE`.
class AccountKind(StrEnum):
    """Whose money it is, or what the house earned or gave it for."""

    #: A rider's money.
    WALLET = "wallet"
    #: A rider's points money: pays for rentals, and is never paid out.
    BONUS = "bonus"
    #: What riders pay for use, net of tax.
    REVENUE = "revenue"
    UNLOCK_FEES = "unlock_fees"
    #: For banks that were kept.
    BUYOUT_REVENUE = "buyout_revenue"
    #: What the house owes one partner.
    PARTNER_PAYABLE = "partner_payable"
    #: What the house owes the tax office.
    TAX = "tax"
    #: What the payment provider holds for the house.
    PROVIDER_CLEARING = "provider_clearing"
    #: What was given back although it had been earned.
    REFUNDS = "refunds"
    #: Losses: disputes that are lost, debts that are given up.
    WRITE_OFF = "write_off"
    #: What operators gave riders, less what they took.
    ADJUSTMENTS = "adjustments"
    SUBSCRIPTIONS = "subscriptions"
    #: What partners earned of rentals, as the house's expense.
    PARTNER_SHARES = "partner_shares"
    #: What left the house's bank for partners.
    PAYOUTS = "payouts"
    #: What riders owe for rentals that are over.
    RECEIVABLE = "receivable"


class NormalSide(StrEnum):
    """The side on which an account grows."""

    DEBIT = "debit"
    CREDIT = "credit"


class TransferState(StrEnum):
    #: Held: set aside, not moved.
    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"


class LedgerAccount(Base):
    """Balances are kept by database triggers in the transaction of the transfer; no code writes them.

    A rider's or partner's totals move at once, the house's when the transaction commits (decision 0020).
    """

    __tablename__ = "ledger_account"
    __table_args__ = (
        Index(
            "uq_ledger_account_owned", "owner_id", "kind", "currency", unique=True,
            postgresql_where=text("owner_id IS NOT NULL"),
        ),
        Index(
            "uq_ledger_account_house", "kind", "currency", unique=True, postgresql_where=text("owner_id IS NULL")
        ),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        # A rider's accounts can never be spent below zero, holds included (credit-normal accounts).
        CheckConstraint(
            "overdraft_allowed OR credits_posted - debits_posted - debits_pending >= 0", name="no_overdraft"
        ),
        CheckConstraint(
            "debits_posted >= 0 AND credits_posted >= 0 AND debits_pending >= 0 AND credits_pending >= 0",
            name="totals",
        ),
        CheckConstraint(
            "kind NOT IN ('wallet', 'bonus')"
            " OR owner_id IS NOT NULL AND normal_side = 'credit' AND NOT overdraft_allowed",
            name="riders_money",
        ),
        # A partner may owe: a refund takes back a share that is paid out already. A payout cannot overdraw (trigger).
        CheckConstraint(
            "kind <> 'partner_payable' OR owner_id IS NOT NULL AND normal_side = 'credit'", name="partners_money"
        ),
        # Asked when an account is deleted.
        Index("ix_ledger_account_rider_id", "rider_id", postgresql_where=text("rider_id IS NOT NULL")),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    #: A rider or a partner, as `kind` says; NULL for the house's own accounts.
    owner_id: Mapped[UUID | None]
    #: The owner where it is a rider.
    rider_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("app_user.id"), Computed("CASE WHEN kind IN ('wallet', 'bonus') THEN owner_id END", persisted=True)
    )
    kind: Mapped[AccountKind] = mapped_column(text_enum(AccountKind, 32))
    currency: Mapped[str] = mapped_column(String(3))
    normal_side: Mapped[NormalSide] = mapped_column(text_enum(NormalSide, 6))
    overdraft_allowed: Mapped[bool]
    debits_posted: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    credits_posted: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    debits_pending: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    credits_pending: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    created_at: Mapped[datetime]


class LedgerTransfer(Base):
    """Money moved, or held (PENDING). Never updated but from PENDING to POSTED or VOIDED, never deleted (trigger)."""

    __tablename__ = "ledger_transfer"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("debit_account_id <> credit_account_id", name="two_sides"),
        CheckConstraint("state IN ('pending', 'posted', 'voided')", name="state"),
        CheckConstraint(
            "(state = 'posted') = (posted_minor IS NOT NULL) AND posted_minor BETWEEN 1 AND amount_minor"
            " OR posted_minor IS NULL AND state <> 'posted'",
            name="posted_minor",
        ),
        CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="settled_at"),
        Index(None, "debit_account_id", "id"),
        Index(None, "credit_account_id", "id"),
        Index("ix_ledger_transfer_pending", "debit_account_id", "id", postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[UUID] = uuid_pk()
    debit_account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_account.id"))
    credit_account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_account.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    #: What really moved: the amount, or less when a hold was captured in part.
    posted_minor: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    kind: Mapped[str] = mapped_column(String(32))
    state: Mapped[TransferState] = mapped_column(text_enum(TransferState, 8))
    idempotency_key: Mapped[str] = mapped_column(String(150), unique=True)
    rental_id: Mapped[UUID | None] = mapped_column(index=True)
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_intent.id"), index=True)
    memo: Mapped[str | None] = mapped_column(String(300))
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class Wallet(Base):
    """A rider's money in one currency: a name for its ledger account, never a second book."""

    __tablename__ = "wallet"
    __table_args__ = (UniqueConstraint("user_id", "currency"),)

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    currency: Mapped[str] = mapped_column(String(3))
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_account.id"), unique=True)
    created_at: Mapped[datetime]


class WalletTransaction(Base):
    """One line of the statement of an account that belongs to somebody, with the balance after it.

    Written by the trigger that moves the balance, in the order in which it moved; append-only. The transfer is the
    book, this is its index (decision 0150).
    """

    __tablename__ = "wallet_transaction"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_account.id"), primary_key=True)
    #: Grows within an account.
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfer.id"))
    #: Negative when it left the account.
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    balance_minor: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]

    transfer: Mapped[LedgerTransfer] = relationship(lazy="raise", viewonly=True)


class WalletAdjustment(TwoPeople, Base):
    """An operator gives a rider money or takes it. Above a limit somebody else has to agree (constraint four_eyes)."""

    __tablename__ = "wallet_adjustment"
    __table_args__ = (
        CheckConstraint("amount_minor <> 0", name="amount"),
        *two_people_rules("abs(amount_minor)"),
        Index(None, "account_id", "requested_at"),
        Index("ix_wallet_adjustment_pending", "id", postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"), index=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_account.id"))
    #: Positive gives, negative takes.
    amount_minor: Mapped[int] = mapped_column(BigInteger)


class LedgerProofRun(Base):
    """The report of one proof of the books. Append-only."""

    __tablename__ = "ledger_proof_run"
    __table_args__ = (CheckConstraint("ok = (jsonb_array_length(problems) = 0)", name="ok"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    ok: Mapped[bool]
    accounts: Mapped[int] = mapped_column(BigInteger)
    transfers: Mapped[int] = mapped_column(BigInteger)
    #: Each names the rule and the row that breaks it.
    problems: Mapped[list[Any]]


class TaxRate(Base):
    """The tax that a country takes of a rental's price, while it holds."""

    __tablename__ = "tax_rate"
    __table_args__ = (
        ExcludeConstraint(
            ("country", "="), (text("tstzrange(valid_from, valid_to)"), "&&"), using="gist", name="ex_tax_rate_overlap"
        ),
        CheckConstraint("basis_points BETWEEN 0 AND 10000", name="basis_points"),
        CheckConstraint("valid_to >= valid_from", name="validity"),
    )

    id: Mapped[UUID] = uuid_pk()
    country: Mapped[str] = mapped_column(ForeignKey("country.iso_code"))
    #: As invoices name it: VAT, MwSt., GST.
    name: Mapped[str] = mapped_column(String(32))
    basis_points: Mapped[int]
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]


class InvoiceKind(StrEnum):
    INVOICE = "invoice"
    #: Says by how much those before it were wrong; negative when money comes back.
    CORRECTION = "correction"
    #: Money that was given back beside the price: what was owed for it was right.
    CREDIT = "credit"


class Invoice(Base):
    """What a rider was told to owe. Append-only, lines too; the lines add up to the total (triggers)."""

    __tablename__ = "invoice"
    __table_args__ = (
        UniqueConstraint("rental_id", "sequence"),
        Index(None, "user_id", "id"),
        CheckConstraint("(kind = 'invoice') = (corrects_id IS NULL)", name="corrects"),
        CheckConstraint("(kind = 'invoice') = (sequence = 0)", name="sequence"),
        CheckConstraint("kind <> 'invoice' OR total_minor > 0 AND tax_minor BETWEEN 0 AND total_minor", name="total"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    )

    id: Mapped[UUID] = uuid_pk()
    #: As people name it. Grows; a transaction that fails may leave a gap.
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    #: A plain id because rentals are above payments; NULL for what is no rental.
    rental_id: Mapped[UUID | None]
    #: 0 is the invoice of its rental, those after it correct it.
    sequence: Mapped[int] = mapped_column(default=0, server_default="0")
    kind: Mapped[InvoiceKind] = mapped_column(text_enum(InvoiceKind, 16))
    corrects_id: Mapped[UUID | None] = mapped_column(ForeignKey("invoice.id"))
    currency: Mapped[str] = mapped_column(String(3))
    #: Of a correction: the difference.
    total_minor: Mapped[int] = mapped_column(BigInteger)
    #: Contained in the total.
    tax_minor: Mapped[int] = mapped_column(BigInteger)
    tax_name: Mapped[str] = mapped_column(String(32))
    tax_bp: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(300))
    issued_at: Mapped[datetime]

    lines: Mapped[list["InvoiceLine"]] = relationship(
        back_populates="invoice", lazy="raise", order_by="InvoiceLine.position"
    )


class InvoiceLine(Base):
    __tablename__ = "invoice_line"

    invoice_id: Mapped[UUID] = mapped_column(ForeignKey("invoice.id"), primary_key=True)
    #: From 1.
    position: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(String(300))
    amount_minor: Mapped[int] = mapped_column(BigInteger)

    invoice: Mapped[Invoice] = relationship(back_populates="lines", lazy="raise")
