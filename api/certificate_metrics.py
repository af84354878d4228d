"""How many cabinets' certificates are about to end, read from the database when Prometheus asks."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.devices.renewal import count_ending

#: Days; 0: those that have ended.
_WITHIN: Final = (0, 7, 30, 90)


class CertificateMetrics(Collector):
    """No samples while the database is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> Iterable[Metric]:
        return _families({})

    def collect(self) -> Iterable[Metric]:
        now = utc_now()
        try:
            with Session(self._engine) as session:
                counts = count_ending(session, [now + timedelta(days=days) for days in _WITHIN])
        except SQLAlchemyError:
            return []
        return _families(dict(zip(_WITHIN, counts, strict=True)))


def _families(counts: Mapping[int, int]) -> list[Metric]:
    ending = GaugeMetricFamily(
        "voltbay_device_certificates_ending",
        "Certificates in force of cabinets that end within so many days; 0: that have ended",
        labels=["days"],
    )
    for days, count in counts.items():
        ending.add_metric([str(days)], count)
    return [ending]
