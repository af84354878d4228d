"""Rows of the time series stand for a span of time; what the deadband and late samples need; figures of the fleet.

With TimescaleDB the continuous aggregates are made anew from the raw rows that are still there (30 days): rollups that
are older end with this migration. Native rollups stay as they are: sums and counts of their rows are of one weight.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_40"
down_revision: str | None = "20261125_01"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("slot_telemetry", "station_telemetry")
KEYS = {"slot_telemetry": "station_id, slot", "station_telemetry": "station_id"}
RAW_DAYS = 30
HOUR_DAYS = 400


def least(name: str, column: str, kind: str) -> tuple[str, str, str, str]:
    return (name, kind, f"min({column})", f"min({name})")


def most(name: str, column: str, kind: str) -> tuple[str, str, str, str]:
    return (name, kind, f"max({column})", f"max({name})")


def average(name: str, column: str, kind: str, weight: str) -> list[tuple[str, str, str, str]]:
    total = f"sum({column}::{kind} * {weight})" if weight != "1" else f"sum({column}::{kind})"
    count = f"sum({weight}) FILTER (WHERE {column} IS NOT NULL)" if weight != "1" else f"count({column})"
    return [
        (f"{name}_sum", kind, total, f"sum({name}_sum)"),
        (f"{name}_count", "bigint", count, f"sum({name}_count)"),
    ]


def rollup(table: str, weight: str) -> list[tuple[str, str, str, str]]:
    """Columns: (name, type, aggregate of raw rows, aggregate of rollup rows)."""
    samples = ("samples", "bigint", "count(*)", "sum(samples)")
    temperature = [
        *average("temperature", "temperature_c", "double precision", weight),
        most("temperature_max", "temperature_c", "real"),
    ]
    if table == "slot_telemetry":
        return [
            samples,
            least("charge_min", "charge_pct", "smallint"),
            most("charge_max", "charge_pct", "smallint"),
            *average("charge", "charge_pct", "bigint", weight),
            *average("voltage", "voltage_mv", "bigint", weight),
            *average("current", "current_ma", "bigint", weight),
            *temperature,
            most("cycles_max", "cycles", "integer"),
            least("health_min", "health_pct", "smallint"),
        ]
    known = f"sum({weight}) FILTER (WHERE mains IS NOT NULL)" if weight != "1" else "count(mains)"
    lost = f"sum({weight})" if weight != "1" else "count(*)"
    return [
        samples,
        least("signal_min", "signal_dbm", "smallint"),
        *average("signal", "signal_dbm", "bigint", weight),
        ("mains_count", "bigint", known, "sum(mains_count)"),
        ("mains_lost", "bigint", f"{lost} FILTER (WHERE NOT mains)", "sum(mains_lost)"),
        *temperature,
        most("uptime_max", "uptime_s", "bigint"),
    ]


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
        coalesce(mains_lost, 0)::double precision / nullif(mains_count, 0) AS mains_lost_share,
        temperature_sum / nullif(temperature_count, 0) AS temperature_avg, temperature_max, uptime_max
    """,
}


def is_timescale() -> bool:
    return op.get_bind().scalar(sa.text("SELECT to_regclass('telemetry_rollup') IS NULL")) is True


def drop_views(table: str, *, timescale: bool) -> None:
    kind = "MATERIALIZED VIEW" if timescale else "VIEW"
    op.execute(f"DROP VIEW {table}_daily")
    op.execute(f"DROP VIEW {table}_hourly")
    op.execute(f"DROP {kind} {table}_day")
    op.execute(f"DROP {kind} {table}_hour")


def create_native_views(table: str, weight: str) -> None:
    keys, columns = KEYS[table], rollup(table, weight)
    names = ", ".join(name for name, *_ in columns)
    raw = ", ".join(f"({raw})::{kind} AS {name}" for name, kind, raw, _ in columns)
    rolled = ", ".join(f"({rolled})::{kind} AS {name}" for name, kind, _, rolled in columns)
    op.execute(
        f"CREATE VIEW {table}_hour AS SELECT {keys}, bucket, {names} FROM {table}_hour_rollup"
        f" UNION ALL SELECT {keys}, date_bin('1 hour', at, '2000-01-01Z') AS bucket, {raw} FROM {table}"
        f" WHERE at >= (SELECT through FROM telemetry_rollup WHERE name = '{table}_hour')"
        f" GROUP BY {keys}, date_bin('1 hour', at, '2000-01-01Z')"
    )
    op.execute(
        f"CREATE VIEW {table}_day AS SELECT {keys}, bucket, {names} FROM {table}_day_rollup"
        f" UNION ALL SELECT {keys}, date_bin('1 day', bucket, '2000-01-01Z') AS bucket, {rolled}"
        f" FROM {table}_hour WHERE bucket >= (SELECT through FROM telemetry_rollup WHERE name = '{table}_day')"
        f" GROUP BY {keys}, date_bin('1 day', bucket, '2000-01-01Z')"
    )


def create_continuous_aggregates(table: str, weight: str) -> None:
    """As in 20261123_09, with the columns of now; the policies fill them from the raw rows that are there."""
    keys, columns = KEYS[table], rollup(table, weight)
    op.execute(
        f"CREATE MATERIALIZED VIEW {table}_hour WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
        f" SELECT {keys}, time_bucket(interval '1 hour', at) AS bucket,"
        f" {', '.join(f'{raw} AS {name}' for name, _, raw, _ in columns)}"
        f" FROM {table} GROUP BY {keys}, time_bucket(interval '1 hour', at) WITH NO DATA"
    )
    op.execute(
        f"CREATE MATERIALIZED VIEW {table}_day WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS"
        f" SELECT {keys}, time_bucket(interval '1 day', bucket) AS bucket,"
        f" {', '.join(f'{rolled} AS {name}' for name, _, _, rolled in columns)}"
        f" FROM {table}_hour GROUP BY {keys}, time_bucket(interval '1 day', bucket) WITH NO DATA"
    )
    op.execute(
        f"SELECT add_continuous_aggregate_policy('{table}_hour', start_offset => interval '{RAW_DAYS - 1} days',"
        " end_offset => interval '2 hours', schedule_interval => interval '30 minutes')"
    )
    op.execute(
        f"SELECT add_continuous_aggregate_policy('{table}_day', start_offset => interval '{HOUR_DAYS - 10} days',"
        " end_offset => interval '1 day', schedule_interval => interval '6 hours')"
    )
    op.execute(f"SELECT add_retention_policy('{table}_hour', interval '{HOUR_DAYS} days')")


def create_views(table: str, weight: str, *, timescale: bool) -> None:
    if timescale:
        create_continuous_aggregates(table, weight)
    else:
        create_native_views(table, weight)
    op.execute(f"CREATE VIEW {table}_hourly AS SELECT {SHOWN[table]} FROM {table}_hour")
    op.execute(f"CREATE VIEW {table}_daily AS SELECT {SHOWN[table]} FROM {table}_day")


def upgrade() -> None:
    timescale = is_timescale()
    for table in TABLES:
        drop_views(table, timescale=timescale)
        op.execute(f"ALTER TABLE {table} ADD COLUMN span_s smallint NOT NULL DEFAULT 1")
        create_views(table, "span_s", timescale=timescale)
    # Unlogged: after a crash of the database the next sample of each station is stored whole, which is all it costs.
    op.execute(
        "CREATE UNLOGGED TABLE telemetry_run (station_id integer CONSTRAINT pk_telemetry_run PRIMARY KEY,"
        " at timestamptz NOT NULL, runs bytea NOT NULL) WITH (fillfactor = 50)"
    )
    op.execute(
        "CREATE TABLE telemetry_late (series varchar(32) NOT NULL, station_id integer NOT NULL,"
        " hour timestamptz NOT NULL, noted_at timestamptz NOT NULL,"
        " CONSTRAINT pk_telemetry_late PRIMARY KEY (series, station_id, hour))"
    )
    op.execute(
        "CREATE TABLE fleet_hour (hour timestamptz CONSTRAINT pk_fleet_hour PRIMARY KEY, stations integer NOT NULL,"
        " online_s bigint NOT NULL)"
    )
    op.execute(
        "CREATE TABLE fleet_temperature (hour timestamptz NOT NULL, subject varchar(16) NOT NULL,"
        " degrees smallint NOT NULL, things integer NOT NULL,"
        " CONSTRAINT pk_fleet_temperature PRIMARY KEY (hour, subject, degrees))"
    )


def downgrade() -> None:
    timescale = is_timescale()
    for table in ("fleet_temperature", "fleet_hour", "telemetry_late", "telemetry_run"):
        op.execute(f"DROP TABLE {table}")
    for table in TABLES:
        drop_views(table, timescale=timescale)
        op.execute(f"ALTER TABLE {table} DROP COLUMN span_s")
        create_views(table, "1", timescale=timescale)
