"""Time series of fleet.telemetry: hypertables with TimescaleDB, native partitions without it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261123_09"
down_revision: str | None = "20261123_08"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = {
    "slot_telemetry": """
        station_id integer NOT NULL, slot smallint NOT NULL, at timestamptz NOT NULL, power_bank_id integer,
        charge_pct smallint, voltage_mv integer, current_ma integer, temperature_c real, cycles integer,
        health_pct smallint, CONSTRAINT pk_slot_telemetry PRIMARY KEY (station_id, slot, at)
    """,
    "station_telemetry": """
        station_id integer NOT NULL, at timestamptz NOT NULL, signal_dbm smallint, mains boolean, temperature_c real,
        uptime_s bigint, CONSTRAINT pk_station_telemetry PRIMARY KEY (station_id, at)
    """,
}


def has_timescale() -> bool:
    found = op.get_bind().execute(sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'"))
    return found.first() is not None


def upgrade() -> None:
    timescale = has_timescale()
    if timescale:
        op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    for table, columns in COLUMNS.items():
        if timescale:
            op.execute(f"CREATE TABLE {table} ({columns})")
            op.execute(f"SELECT create_hypertable('{table}', 'at', chunk_time_interval => interval '1 day')")
        else:
            op.execute(f"CREATE TABLE {table} ({columns}) PARTITION BY RANGE (at)")
            op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")


def downgrade() -> None:
    for table in COLUMNS:
        op.execute(f"DROP TABLE {table} CASCADE")
