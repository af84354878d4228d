"""What devices prove themselves with: authority, credentials, claim tokens, windows of signatures."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_10"
down_revision: str | None = "20261125_50"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "device_authority",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("is_root", sa.Boolean(), nullable=False),
        sa.Column("certificate_pem", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_authority")),
    )
    op.create_index(
        "uq_device_authority_active",
        "device_authority",
        ["is_root"],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    op.create_table(
        "device_credential",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("certificate", "secret", name="credentialkind", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum("current", "next", "revoked", name="credentialstate", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("authority_id", sa.Integer(), nullable=True),
        sa.Column("certificate_pem", sa.Text(), nullable=True),
        sa.Column("serial_number", sa.String(length=40), nullable=True),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=True),
        sa.Column("signs", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_reason", sa.String(length=200), nullable=True),
        sa.Column("cut_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(kind = 'certificate') = (certificate_pem IS NOT NULL)", name=op.f("ck_device_credential_certificate")
        ),
        sa.CheckConstraint(
            "(kind = 'certificate') = (serial_number IS NOT NULL)", name=op.f("ck_device_credential_serial_number")
        ),
        sa.CheckConstraint(
            "(kind = 'secret') = (password_hash IS NOT NULL)", name=op.f("ck_device_credential_password_hash")
        ),
        sa.CheckConstraint(
            "(state = 'revoked') = (revoked_at IS NOT NULL)", name=op.f("ck_device_credential_revoked_at")
        ),
        sa.CheckConstraint("NOT signs OR sealed_secret IS NOT NULL", name=op.f("ck_device_credential_signs")),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["device_authority.id"], name=op.f("fk_device_credential_authority_id_device_authority")
        ),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_credential_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_credential")),
        sa.UniqueConstraint("key_id", name=op.f("uq_device_credential_key_id")),
        sa.UniqueConstraint("serial_number", name=op.f("uq_device_credential_serial_number")),
    )
    op.create_index(op.f("ix_device_credential_expires_at"), "device_credential", ["expires_at"], unique=False)
    op.create_index(op.f("ix_device_credential_station_id_id"), "device_credential", ["station_id", "id"], unique=False)
    op.create_index(
        "ix_device_credential_uncut",
        "device_credential",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'revoked' AND cut_at IS NULL"),
    )
    op.create_index(
        "uq_device_credential_current",
        "device_credential",
        ["station_id"],
        unique=True,
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_index(
        "uq_device_credential_next",
        "device_credential",
        ["station_id"],
        unique=True,
        postgresql_where=sa.text("state = 'next'"),
    )
    op.create_index(
        "uq_device_credential_username",
        "device_credential",
        ["username"],
        unique=True,
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_table(
        "signature_window",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_signature_window_station_id_station")),
        sa.PrimaryKeyConstraint("station_id", "kind", name=op.f("pk_signature_window")),
    )
    op.create_table(
        "claim_token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum("provision", "replace", "rotate", name="claimpurpose", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column(
            "kind",
            sa.Enum("certificate", "secret", name="credentialkind", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("hardware_serial", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("request_hash", sa.LargeBinary(), nullable=True),
        sa.Column("credential_id", sa.Integer(), nullable=True),
        sa.CheckConstraint("(used_at IS NULL) = (credential_id IS NULL)", name=op.f("ck_claim_token_used_at")),
        sa.CheckConstraint("(used_at IS NULL) = (request_hash IS NULL)", name=op.f("ck_claim_token_request_hash")),
        sa.CheckConstraint("station_id IS NOT NULL OR hardware_serial IS NOT NULL", name=op.f("ck_claim_token_bound")),
        sa.ForeignKeyConstraint(["created_by"], ["app_user.id"], name=op.f("fk_claim_token_created_by_app_user")),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["device_credential.id"], name=op.f("fk_claim_token_credential_id_device_credential")
        ),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_claim_token_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim_token")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_claim_token_credential_id")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_claim_token_token_hash")),
    )
    op.create_index(op.f("ix_claim_token_batch_id"), "claim_token", ["batch_id"], unique=False)
    op.create_index(op.f("ix_claim_token_hardware_serial"), "claim_token", ["hardware_serial"], unique=False)
    op.create_index(op.f("ix_claim_token_station_id"), "claim_token", ["station_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_claim_token_station_id"), table_name="claim_token")
    op.drop_index(op.f("ix_claim_token_hardware_serial"), table_name="claim_token")
    op.drop_index(op.f("ix_claim_token_batch_id"), table_name="claim_token")
    op.drop_table("claim_token")
    op.drop_table("signature_window")
    op.drop_index(
        "uq_device_credential_username", table_name="device_credential", postgresql_where=sa.text("state = 'current'")
    )
    op.drop_index(
        "uq_device_credential_next", table_name="device_credential", postgresql_where=sa.text("state = 'next'")
    )
    op.drop_index(
        "uq_device_credential_current", table_name="device_credential", postgresql_where=sa.text("state = 'current'")
    )
    op.drop_index(
        "ix_device_credential_uncut",
        table_name="device_credential",
        postgresql_where=sa.text("state = 'revoked' AND cut_at IS NULL"),
    )
    op.drop_index(op.f("ix_device_credential_station_id_id"), table_name="device_credential")
    op.drop_index(op.f("ix_device_credential_expires_at"), table_name="device_credential")
    op.drop_table("device_credential")
    op.drop_index(
        "uq_device_authority_active", table_name="device_authority", postgresql_where=sa.text("retired_at IS NULL")
    )
    op.drop_table("device_authority")
