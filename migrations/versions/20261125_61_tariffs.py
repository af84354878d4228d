"""Tariffs in versions that do not overlap, with multipliers, late fees and taxes; what else a rental is priced by."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_61"
down_revision: str | None = "20261125_60"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SCOPE = (
    "CASE WHEN station_id IS NOT NULL THEN 'station:' || station_id"
    " WHEN venue_id IS NOT NULL THEN 'venue:' || venue_id"
    " WHEN city IS NOT NULL THEN 'city:' || coalesce(country, '') || ':' || city"
    " WHEN country IS NOT NULL THEN 'country:' || country ELSE 'default' END"
)

CHECKS = {
    "amounts": "unlock_minor >= 0 AND interval_minor >= 0 AND daily_cap_minor >= 0 AND total_cap_minor >= 0"
    " AND hold_minor >= 0 AND rounding_step_minor >= 1",
    "one_scope": "num_nonnulls(station_id, venue_id, coalesce(city, country)) <= 1",
    "validity": "valid_to >= valid_from",
    "late": "late_multiplier_bp >= 10000 AND late_hourly_minor >= 0 AND late_daily_cap_minor >= 0"
    " AND late_grace >= interval '0'",
    "buyout": "buyout_after IS NULL OR total_cap_minor > 0",
}

# Until now the most specific column decided, and the newest row among equals. The same tariffs go on holding: of one
# that named several places the narrowest is kept, and each ends where the next one for the same place begins.
NARROW = (
    "UPDATE tariff SET city = NULL, country = NULL WHERE station_id IS NOT NULL",
    f"""UPDATE tariff t SET valid_to = n.ends FROM (
            SELECT id, lead(valid_from) OVER (PARTITION BY {SCOPE} ORDER BY valid_from, id) AS ends FROM tariff) n
        WHERE n.id = t.id AND n.ends IS NOT NULL AND (t.valid_to IS NULL OR t.valid_to > n.ends)""",
    "UPDATE tariff SET valid_to = valid_from WHERE valid_to < valid_from",
)

# `scope` follows from the rest, and is not computed yet when a BEFORE trigger looks.
GUARD = """
CREATE FUNCTION tariff_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - ARRAY['valid_to', 'scope'] = to_jsonb(OLD) - ARRAY['valid_to', 'scope'] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'tariff % never changes: an edit is a new version', OLD.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_tariff_immutable';
END $$;
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    for column in _columns():
        op.add_column("tariff", column)
    op.execute("UPDATE tariff SET series_id = id")
    op.alter_column("tariff", "series_id", nullable=False)
    op.drop_constraint(op.f("ck_tariff_amounts"), "tariff", type_="check")
    for statement in NARROW:
        op.execute(statement)
    op.add_column("tariff", sa.Column("scope", sa.Text(), sa.Computed(SCOPE, persisted=True), nullable=False))
    for name, condition in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_tariff_{name}"), "tariff", condition)
    op.create_foreign_key(op.f("fk_tariff_venue_id_venue"), "tariff", "venue", ["venue_id"], ["id"])
    op.create_unique_constraint(op.f("uq_tariff_series_id_version"), "tariff", ["series_id", "version"])
    op.execute(
        "ALTER TABLE tariff ADD CONSTRAINT ex_tariff_overlap"
        " EXCLUDE USING gist (scope WITH =, tstzrange(valid_from, valid_to) WITH &&)"
    )
    op.execute(GUARD)
    op.execute(
        "CREATE TRIGGER tariff_guard BEFORE UPDATE OR DELETE ON tariff FOR EACH ROW EXECUTE FUNCTION tariff_guard()"
    )
    _tax_rates()
    for name in ("prepaid", "adjustments"):
        op.add_column("rental", sa.Column(name, postgresql.JSONB(), server_default="[]", nullable=False))


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("series_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("venue_id", sa.Integer(), nullable=True),
        sa.Column("buyout_after", sa.Interval(), nullable=True),
        sa.Column("multipliers", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("rounding_step_minor", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("tax_inclusive", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("late_multiplier_bp", sa.Integer(), server_default="10000", nullable=False),
        sa.Column("late_hourly_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("late_grace", sa.Interval(), server_default="2 minutes", nullable=False),
        sa.Column("late_daily_cap_minor", sa.BigInteger(), server_default="0", nullable=False),
    ]


def _tax_rates() -> None:
    op.create_table(
        "tax_rate",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("basis_points", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("basis_points BETWEEN 0 AND 10000", name=op.f("ck_tax_rate_basis_points")),
        sa.CheckConstraint("valid_to >= valid_from", name=op.f("ck_tax_rate_validity")),
        postgresql.ExcludeConstraint(
            ("country", "="), (sa.text("tstzrange(valid_from, valid_to)"), "&&"), using="gist",
            name="ex_tax_rate_overlap",
        ),
        sa.ForeignKeyConstraint(["country"], ["country.iso_code"], name=op.f("fk_tax_rate_country_country")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tax_rate")),
    )  # fmt: skip


def downgrade() -> None:
    for name in ("prepaid", "adjustments"):
        op.drop_column("rental", name)
    op.drop_table("tax_rate")
    op.execute("DROP TRIGGER tariff_guard ON tariff")
    op.execute("DROP FUNCTION tariff_guard()")
    op.drop_constraint("ex_tariff_overlap", "tariff")
    op.drop_constraint(op.f("uq_tariff_series_id_version"), "tariff", type_="unique")
    for name in CHECKS:
        op.drop_constraint(op.f(f"ck_tariff_{name}"), "tariff", type_="check")
    op.drop_column("tariff", "scope")
    for column in _columns():
        op.drop_column("tariff", column.name)
    op.create_check_constraint(
        op.f("ck_tariff_amounts"), "tariff",
        "unlock_minor >= 0 AND interval_minor >= 0 AND daily_cap_minor >= 0"
        " AND total_cap_minor >= 0 AND hold_minor >= 0",
    )  # fmt: skip
