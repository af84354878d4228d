"""How many cabinets' certificates are about to end, read from the database when Prometheus asks."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.devices.renewal import count_ending

#: Days; 0: those that have ended.
_WITHIN: Final = (0, 7, 30, 90)


def certificate_metrics(session: Session | None) -> list[Metric]:
    counts = {} if session is None else _counts(session)
    ending = GaugeMetricFamily(
        "voltbay_device_certificates_ending",
        "Certificates in force of cabinets that end within so many days; 0: that have ended",
        labels=["days"],
    )
    for days, count in counts.items():
        ending.add_metric([str(days)], count)
    return [ending]


def _counts(session: Session) -> Mapping[int, int]:
    now = utc_now()
    counts = count_ending(session, [now + timedelta(days=days) for days in _WITHIN])
    return dict(zip(_WITHIN, counts, strict=True))
