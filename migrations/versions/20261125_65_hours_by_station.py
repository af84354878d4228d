"""Hours of native partitions: what charts show lies in the key's index, an hour of a station on one page.

A chart over weeks reads one station's hours out of those of the whole fleet. From the index alone it reads a few pages
in a row, however many stations there are; from the table it read one page for each hour, or for each slot of each hour.
Pages must be known to be visible to all for that, so autovacuum comes after few new rows and not after a fifth of a
year's. TimescaleDB keeps its aggregates by itself: nothing to do there.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_65"
down_revision: str | None = "20261125_79"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "slot_telemetry_hour_rollup"
KEY = "station_id, slot, bucket"
SHOWN = "charge_sum, charge_count, temperature_max"


def is_native() -> bool:
    return op.get_bind().scalar(sa.text("SELECT to_regclass('telemetry_rollup') IS NOT NULL")) is True


def upgrade() -> None:
    if is_native():
        op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_pkey")
        op.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT {TABLE}_pkey PRIMARY KEY ({KEY}) INCLUDE ({SHOWN})")
        op.execute(
            f"ALTER TABLE {TABLE} SET (autovacuum_vacuum_insert_scale_factor = 0.002,"
            " autovacuum_vacuum_insert_threshold = 10000)"
        )


def downgrade() -> None:
    if is_native():
        op.execute(
            f"ALTER TABLE {TABLE} RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold)"
        )
        op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_pkey")
        op.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT {TABLE}_pkey PRIMARY KEY ({KEY})")
