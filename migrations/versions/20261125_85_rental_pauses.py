"""Pauses of rentals, and the rental's own list of those in force, which the database holds equal to the rows."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_85"
down_revision: str | None = "20261125_52"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Looked at when the transaction commits: rows and list are written one after the other.
EQUAL = """
CREATE FUNCTION rental_paused_is_its_pauses() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about uuid := CASE WHEN TG_TABLE_NAME = 'rental' THEN to_jsonb(NEW)->>'id' ELSE to_jsonb(NEW)->>'rental_id' END;
    told jsonb;
    true_ones jsonb;
BEGIN
    SELECT paused INTO told FROM rental WHERE id = about;
    SELECT coalesce(jsonb_agg(jsonb_build_array(
               (extract(epoch FROM began_at) * 1000000)::bigint, (extract(epoch FROM ends_at) * 1000000)::bigint
           ) ORDER BY began_at, id), '[]')
      INTO true_ones FROM rental_pause WHERE rental_id = about AND voided_at IS NULL;
    IF told IS DISTINCT FROM true_ones THEN
        RAISE EXCEPTION 'rental %: paused % is not its pauses %', about, told, true_ones
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_rental_paused';
    END IF;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.add_column("rental", sa.Column("paused", postgresql.JSONB(), server_default="[]", nullable=False))
    kinds = sa.Enum("return_problem", "return_claim", "operator", name="pausekind", native_enum=False, length=16)
    op.create_table(
        "rental_pause",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("kind", kinds, nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("asked_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_why", sa.String(length=64), nullable=True),
        sa.CheckConstraint("ends_at >= began_at", name=op.f("ck_rental_pause_times")),
        sa.CheckConstraint("(voided_at IS NULL) = (voided_why IS NULL)", name=op.f("ck_rental_pause_voided")),
        postgresql.ExcludeConstraint(
            ("rental_id", "="), ("kind", "="), (sa.text("tstzrange(began_at, ends_at)"), "&&"),
            where=sa.text("voided_at IS NULL"), using="gist", name="ex_rental_pause_overlap",
        ),
        sa.ForeignKeyConstraint(["asked_by"], ["app_user.id"], name=op.f("fk_rental_pause_asked_by_app_user")),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_rental_pause_rental_id_rental")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental_pause")),
    )  # fmt: skip
    op.create_index(op.f("ix_rental_pause_rental_id"), "rental_pause", ["rental_id"])
    op.execute(EQUAL)
    op.execute(
        "CREATE CONSTRAINT TRIGGER rental_pause_told AFTER INSERT OR UPDATE ON rental_pause"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rental_paused_is_its_pauses()"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER rental_paused_told AFTER UPDATE OF paused ON rental"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rental_paused_is_its_pauses()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER rental_paused_told ON rental")
    op.drop_table("rental_pause")
    op.execute("DROP FUNCTION rental_paused_is_its_pauses()")
    op.drop_column("rental", "paused")
