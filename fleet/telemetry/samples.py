from datetime import datetime
from typing import NamedTuple

from firmware_protocol.messages import Heartbeat, SlotTelemetry


class Sample(NamedTuple):
    """One heartbeat or slot telemetry; `at` is corrected and never later than the receipt.

    `span_s`: for how many seconds up to `at` its values stand, once it is a row.
    """

    station_id: int
    boot: int
    seq: int
    at: datetime
    message: Heartbeat | SlotTelemetry
    span_s: int = 1
