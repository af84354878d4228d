"""Everything that can be made to go wrong with a simulated cabinet."""

from enum import StrEnum
from random import Random
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace


class FaultKind(StrEnum):
    #: A command is not answered. `moves`: the bank leaves all the same, and no event tells.
    NO_ANSWER = "no_answer"
    #: The answer comes `delay_s` late. `moves`: the bank leaves at once and only the report is late.
    LATE_ANSWER = "late_answer"
    #: The eject fails with `code`. `moves`: the bank leaves although the cabinet says that it failed.
    FAILED_EJECT = "failed_eject"
    #: Another bank than the one ordered leaves.
    WRONG_BANK = "wrong_bank"
    #: Every frame is published twice.
    DUPLICATE = "duplicate"
    #: Events leave shuffled within windows of `window`.
    REORDER = "reorder"
    #: The backend's acknowledgements do not arrive.
    LOST_ACK = "lost_ack"
    #: Power fails during an eject. `moves`: after the bank left, before the cabinet wrote that down.
    #: `silent`: after the restart it says how the eject ended only when asked (8.2.3 says that it should by itself).
    REBOOT_MID_COMMAND = "reboot_mid_command"
    #: No network for `duration_s`; what happens meanwhile waits in the journal. Acts once, when added.
    OFFLINE_WITH_JOURNAL = "offline_with_journal"
    #: The cabinet's clock is `drift_ms` off while the fault lasts.
    CLOCK_DRIFT = "clock_drift"
    #: The bank is released, nobody takes it, and after `delay_s` it locks again.
    NOT_TAKEN = "not_taken"
    #: Events are journaled and do not reach the network the first time, as if a broker had lost them.
    DROP_EVENTS = "drop_events"
    #: Random bytes on one of the cabinet's topics before each frame.
    GARBAGE = "garbage"
    #: A `set_config` is answered `invalid`, code `bad_value`.
    CONFIG_REFUSED = "config_refused"
    #: A piece of a collected log never reaches the journal.
    LOST_LOG_CHUNK = "lost_log_chunk"
    #: The firmware image that was downloaded is not the one that was signed.
    CORRUPT_IMAGE = "corrupt_image"
    #: An update begins and never ends.
    UPDATE_HANGS = "update_hangs"
    #: The new firmware does not come up: the one before starts instead.
    UPDATE_ROLLS_BACK = "update_rolls_back"
    #: Vendors' cabinets: an eject is answered with the code `result`. `moves`: the bank leaves all the same.
    RESULT_CODE = "result_code"
    #: Vendors' cabinets: a return is reported with the code `result`. `moves`: the bank is pushed out again.
    RETURN_CODE = "return_code"
    #: Vendors' cabinets: a frame says another length than it has, or its check is wrong.
    WRONG_LENGTH = "wrong_length"
    WRONG_CHECKSUM = "wrong_checksum"
    #: Volinks: charge, temperature and charger of every bank read 255, as after a failed reading.
    SENTINELS = "sentinels"
    #: Volinks: the connection breaks before an eject is acknowledged; a broker that was told QoS 1 sends it again.
    LOST_PUBACK = "lost_puback"
    #: Relink: frames wait for each other, up to `window` of them or 0.3 s, and leave in one write.
    GLUED = "glued"
    #: Relink: a frame leaves in two writes, `delay_s` apart.
    SPLIT = "split"


class Fault(Struct, kw_only=True, forbid_unknown_fields=True):
    """One fault: `count` None lasts until cleared, `probability` is asked each time that it could strike."""

    kind: FaultKind
    count: Annotated[int, Meta(ge=1)] | None = None
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    moves: bool = False
    silent: bool = False
    delay_s: Annotated[float, Meta(ge=0, le=86_400)] = 8.0
    duration_s: Annotated[float, Meta(ge=0, le=864_000)] = 60.0
    drift_ms: Annotated[int, Meta(ge=-(10**13), le=10**13)] = 0
    code: Annotated[str, Meta(min_length=1, max_length=64)] = "motor_stalled"
    window: Annotated[int, Meta(ge=2, le=1000)] = 4
    #: A vendor's own code, as its frames carry it.
    result: Annotated[int, Meta(ge=0, le=255)] = 0


class FaultSet:
    """At most one fault of each kind."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._faults: dict[FaultKind, Fault] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def active(self) -> tuple[Fault, ...]:
        return tuple(self._faults.values())

    def add(self, fault: Fault) -> None:
        """Replaces an earlier fault of this kind. The caller's object is not used up."""
        self._faults[fault.kind] = replace(fault)

    def clear(self, kind: FaultKind | None = None) -> None:
        """Remove one kind, or all."""
        if kind is None:
            self._faults.clear()
        else:
            self._faults.pop(kind, None)

    def get(self, kind: FaultKind) -> Fault | None:
        """The fault if it is set; does not use it up."""
        return self._faults.get(kind)

    def strikes(self, kind: FaultKind) -> Fault | None:
        """The fault if it strikes now; uses up one of its `count`."""
        fault = self._faults.get(kind)
        if fault is None or (fault.probability < 1 and self._rng.random() >= fault.probability):
            return None
        if fault.count is not None:
            fault.count -= 1
            if fault.count <= 0:
                del self._faults[kind]
        return fault
