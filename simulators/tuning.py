"""How simulated cabinets behave, apart from what is in them."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from firmware_protocol.firmware.trust import Trust
from firmware_protocol.limits import MAX_LOG_CHUNK_BYTES

#: Eject of a real cabinet: motor, sensor, rider's hand.
REALISTIC_EJECT_MS: Final = (300, 1200)


class Wire(StrEnum):
    """Encoding of a cabinet's frames; MIXED: one or the other, by the cabinet's own dice."""

    JSON = "json"
    CBOR = "cbor"
    MIXED = "mixed"


class Tuning(Struct, frozen=True, kw_only=True):
    """Durations in the unit of their name; a range is drawn from uniformly."""

    encoding: Wire = Wire.JSON
    eject_ms: tuple[int, int] = REALISTIC_EJECT_MS
    #: None: as the welcome says.
    telemetry_s: float | None = None
    heartbeat_s: float | None = None
    #: Events that fit the flash.
    journal_size: int = 1000
    reboot_ms: tuple[int, int] = (1500, 4000)
    #: Full jitter between tries to connect: uniform in 0 … min(cap, base * 2^tries).
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    #: Booted is repeated when no welcome comes, with the same jitter on top.
    welcome_timeout_s: float = 10.0
    #: Vendors' cabinets. Volinks: an inventory this soon after an eject may still show the bank.
    self_check_ms: int = 3000
    #: Volinks: from a return that could not be read to the report of the self-test.
    self_test_ms: int = 60_000
    #: Volinks: first HTTP upload and advert fetch after a start, and from then on.
    first_upload_s: float = 60
    upload_s: float = 1200
    #: Relink: from a return to the closing of the slot's switch, and between repeats of an unanswered return.
    switch_ms: int = 1500
    return_repeat_ms: int = 5000
    firmware: str = "1.0.0"
    hardware: str = "sim-8"
    #: The root of trust that the factory put in; None: a cabinet without updates.
    trust: Trust | None = None
    log_chunk_bytes: int = MAX_LOG_CHUNK_BYTES
