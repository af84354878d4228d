"""Time series of fleet.telemetry: hypertables with TimescaleDB, native partitions without it.

Both variants end in the same tables and views. `*_hour` and `*_day` hold sums and counts, so that days can be made of
hours without losing a digit; `*_hourly` and `*_daily` show averages and are what queries read.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

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
KEYS = {"slot_telemetry": "station_id, slot", "station_telemetry": "station_id"}
SEGMENTS = {"slot_telemetry": "station_id, slot", "station_telemetry": "station_id"}

#: Column of a rollup: (name, type, aggregate of raw rows, aggregate of rollup rows).
ROLLUP = {
    "slot_telemetry": [
        ("samples", "bigint", "count(*)", "sum(samples)"),
        ("charge_min", "smallint", "min(charge_pct)", "min(charge_min)"),
        ("charge_max", "smallint", "max(charge_pct)", "max(charge_max)"),
        ("charge_sum", "bigint", "sum(charge_pct)", "sum(charge_sum)"),
        ("charge_count", "bigint", "count(charge_pct)", "sum(charge_count)"),
        ("voltage_sum", "bigint", "sum(voltage_mv)", "sum(voltage_sum)"),
        ("voltage_count", "bigint", "count(voltage_mv)", "sum(voltage_count)"),
        ("current_sum", "bigint", "sum(current_ma)", "sum(current_sum)"),
        ("current_count", "bigint", "count(current_ma)", "sum(current_count)"),
        ("temperature_sum", "double precision", "sum(temperature_c::double precision)", "sum(temperature_sum)"),
        ("temperature_count", "bigint", "count(temperature_c)", "sum(temperature_count)"),
        ("temperature_max", "real", "max(temperature_c)", "max(temperature_max)"),
        ("cycles_max", "integer", "max(cycles)", "max(cycles_max)"),
        ("health_min", "smallint", "min(health_pct)", "min(health_min)"),
    ],
    "station_telemetry": [
        ("samples", "bigint", "count(*)", "sum(samples)"),
        ("signal_min", "smallint", "min(signal_dbm)", "min(signal_min)"),
        ("signal_sum", "bigint", "sum(signal_dbm)", "sum(signal_sum)"),
        ("signal_count", "bigint", "count(signal_dbm)", "sum(signal_count)"),
        ("mains_count", "bigint", "count(mains)", "sum(mains_count)"),
        ("mains_lost", "bigint", "count(*) FILTER (WHERE NOT mains)", "sum(mains_lost)"),
        ("temperature_sum", "double precision", "sum(temperature_c::double precision)", "sum(temperature_sum)"),
        ("temperature_count", "bigint", "count(temperature_c)", "sum(temperature_count)"),
        ("temperature_max", "real", "max(temperature_c)", "max(temperature_max)"),
        ("uptime_max", "bigint", "max(uptime_s)", "max(uptime_max)"),
    ],
}
SHOWN = {
    "slot_telemetry": """
        station_id, slot, bucket, samples::bigint AS samples, charge_min, charge_max,
        charge_sum::double precision / nullif(charge_count, 0) AS charge_avg,
        voltage_sum::double precision / nullif(voltage_count, 0) AS voltage_avg,
        current_sum::double precision / nullif(current_count, 0) AS current_avg,
        temperature_sum / nullif(temperature_count, 0) AS temperature_avg, temperature_max, cycles_max, health_min
    """,
    "station_telemetry": """
        station_id, bucket, samples::bigint AS samples, signal_min,
        signal_sum::double precision / nullif(signal_count, 0) AS signal_avg,
        mains_lost::double precision / nullif(mains_count, 0) AS mains_lost_share,
        temperature_sum / nullif(temperature_count, 0) AS temperature_avg, temperature_max, uptime_max
    """,
}
#: Kept as raw rows; the hours are kept 400 days, the days for ever. `fleet.telemetry.upkeep` has the same numbers.
RAW_DAYS = 30
HOUR_DAYS = 400


def has_timescale() -> bool:
    """Whether the extension is there with what we use; its Apache edition has neither rollups nor retention."""
    bind = op.get_bind()
    if bind.execute(sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'")).first() is None:
        return False
    op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return bool(bind.scalar(sa.text("SELECT current_setting('timescaledb.license', true) = 'timescale'")))


def raw_aggregates(table: str) -> str:
    return ", ".join(f"({raw})::{kind} AS {name}" for name, kind, raw, _ in ROLLUP[table])


def rollup_aggregates(table: str) -> str:
    return ", ".join(f"({rolled})::{kind} AS {name}" for name, kind, _, rolled in ROLLUP[table])


def names(table: str) -> str:
    return ", ".join(name for name, *_ in ROLLUP[table])


def create_hypertable(table: str) -> None:
    keys = KEYS[table]
    op.execute(f"CREATE TABLE {table} ({COLUMNS[table]})")
    # No index on the time alone, which native partitions do not have either: nothing asks for all stations at one time.
    op.execute(
        f"SELECT create_hypertable('{table}', 'at', chunk_time_interval => interval '1 day',"
        " create_default_indexes => false)"
    )
    op.execute(
        f"ALTER TABLE {table} SET (timescaledb.compress, timescaledb.compress_segmentby = '{SEGMENTS[table]}',"
        " timescaledb.compress_orderby = 'at')"
    )
    op.execute(f"SELECT add_compression_policy('{table}', interval '2 days')")
    op.execute(f"SELECT add_retention_policy('{table}', interval '{RAW_DAYS} days')")
    # Types are cast where they are shown: an aggregate on which another one is built takes plain aggregates only.
    op.execute(
        f"CREATE MATERIALIZED VIEW {table}_hour WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
        f" SELECT {keys}, time_bucket(interval '1 hour', at) AS bucket,"
        f" {', '.join(f'{raw} AS {name}' for name, _, raw, _ in ROLLUP[table])}"
        f" FROM {table} GROUP BY {keys}, time_bucket(interval '1 hour', at) WITH NO DATA"
    )
    op.execute(
        f"CREATE MATERIALIZED VIEW {table}_day WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
        f" SELECT {keys}, time_bucket(interval '1 day', bucket) AS bucket,"
        f" {', '.join(f'{rolled} AS {name}' for name, _, _, rolled in ROLLUP[table])}"
        f" FROM {table}_hour GROUP BY {keys}, time_bucket(interval '1 day', bucket) WITH NO DATA"
    )
    # Back to just before retention: only hours in which something changed are added up again. What lies before the
    # start never is (rows of a restored backup), and what lies before retention must not be (it would come out empty).
    op.execute(
        f"SELECT add_continuous_aggregate_policy('{table}_hour', start_offset => interval '{RAW_DAYS - 1} days',"
        " end_offset => interval '2 hours', schedule_interval => interval '30 minutes')"
    )
    op.execute(
        f"SELECT add_continuous_aggregate_policy('{table}_day', start_offset => interval '{HOUR_DAYS - 10} days',"
        " end_offset => interval '1 day', schedule_interval => interval '6 hours')"
    )
    op.execute(f"SELECT add_retention_policy('{table}_hour', interval '{HOUR_DAYS} days')")


def create_partitioned(table: str) -> None:
    """The rollups are filled by `fleet.telemetry.upkeep`; what it has not reached yet is added up when asked for."""
    keys, aggregates = KEYS[table], raw_aggregates(table)
    op.execute(f"CREATE TABLE {table} ({COLUMNS[table]}) PARTITION BY RANGE (at)")
    op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    kinds = ", ".join(f"{name} {kind}" for name, kind, *_ in ROLLUP[table])
    key_kinds = ", ".join(
        f"{key.strip()} {'smallint' if key.strip() == 'slot' else 'integer'}" for key in keys.split(",")
    )
    for step in ("hour", "day"):
        op.execute(
            f"CREATE TABLE {table}_{step}_rollup ({key_kinds}, bucket timestamptz, {kinds},"
            f" PRIMARY KEY ({keys}, bucket))"
        )
        op.execute(f"CREATE INDEX ix_{table}_{step}_rollup_bucket ON {table}_{step}_rollup USING brin (bucket)")
    op.execute(
        f"CREATE VIEW {table}_hour AS SELECT {keys}, bucket, {names(table)} FROM {table}_hour_rollup"
        f" UNION ALL SELECT {keys}, date_bin('1 hour', at, '2000-01-01Z') AS bucket, {aggregates} FROM {table}"
        f" WHERE at >= (SELECT through FROM telemetry_rollup WHERE name = '{table}_hour')"
        f" GROUP BY {keys}, date_bin('1 hour', at, '2000-01-01Z')"
    )
    op.execute(
        f"CREATE VIEW {table}_day AS SELECT {keys}, bucket, {names(table)} FROM {table}_day_rollup"
        f" UNION ALL SELECT {keys}, date_bin('1 day', bucket, '2000-01-01Z') AS bucket, {rollup_aggregates(table)}"
        f" FROM {table}_hour WHERE bucket >= (SELECT through FROM telemetry_rollup WHERE name = '{table}_day')"
        f" GROUP BY {keys}, date_bin('1 day', bucket, '2000-01-01Z')"
    )


def create_watermarks() -> None:
    """How far each rollup is filled: below it the rollup counts, from it on the raw rows do."""
    op.execute("CREATE TABLE telemetry_rollup (name text PRIMARY KEY, through timestamptz NOT NULL)")
    for table in COLUMNS:
        for step in ("hour", "day"):
            op.execute(f"INSERT INTO telemetry_rollup VALUES ('{table}_{step}', '2000-01-01Z')")


def create_first_partitions() -> None:
    """A week ahead, until the first upkeep."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for table in COLUMNS:
        for offset in range(-1, 8):
            day = today + timedelta(days=offset)
            op.execute(
                f"CREATE TABLE {table}_p{day:%Y%m%d} PARTITION OF {table}"
                f" FOR VALUES FROM ('{day.isoformat()}') TO ('{(day + timedelta(days=1)).isoformat()}')"
            )


def upgrade() -> None:
    timescale = has_timescale()
    if not timescale:
        create_watermarks()
    for table, shown in SHOWN.items():
        if timescale:
            create_hypertable(table)
        else:
            create_partitioned(table)
        op.execute(f"CREATE VIEW {table}_hourly AS SELECT {shown} FROM {table}_hour")
        op.execute(f"CREATE VIEW {table}_daily AS SELECT {shown} FROM {table}_day")
    if not timescale:
        create_first_partitions()


def downgrade() -> None:
    for table in COLUMNS:
        op.execute(f"DROP TABLE {table} CASCADE")
        for step in ("day", "hour"):
            op.execute(f"DROP TABLE IF EXISTS {table}_{step}_rollup CASCADE")
    op.execute("DROP TABLE IF EXISTS telemetry_rollup")
