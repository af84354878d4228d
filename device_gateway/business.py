"""From an event of a cabinet to what it means. Which messages are simple state, and which are business."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from sqlalchemy.orm import Session

from device_gateway.directory import StationRef
from firmware_protocol.commands import CollectLogs
from firmware_protocol.messages import (
    CheckNeeded,
    CommandResult,
    CommandUncertain,
    ConfigReport,
    FirmwareProgress,
    Inventory,
    LogChunk,
    PowerBankEjected,
    PowerBankInserted,
    SlotFault,
    StationFault,
)
from fleet.devices.commands import kind_of, settle_questions
from fleet.devices.configuration import reports
from fleet.devices.facts import DeviceFact
from fleet.devices.firmware import sweep
from fleet.devices.logs import collect
from fleet.devices.models import DeviceCommand
from fleet.rentals.evidence.answers import command_named, heard_before
from fleet.rentals.evidence.quiet import take_quiet
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.rules import RentalPolicy
from fleet.settings import Settings

#: Applies one fact in the caller's transaction.
FactHandler = Callable[[Session, DeviceFact, datetime], None]

#: These reach people, banks or money: each goes through the services, alone under a savepoint.
FACTS: Final = frozenset(
    {
        Inventory,
        PowerBankInserted,
        PowerBankEjected,
        SlotFault,
        StationFault,
        CommandResult,
        CommandUncertain,
        CheckNeeded,
        ConfigReport,
        FirmwareProgress,
        LogChunk,
    },
)
#: Beyond this a cabinet's clock is of no use for a boot whose own difference was never measured.
TRUSTED_OFFSET_MS: Final = 24 * 3600 * 1000
_COLLECT_LOGS: Final = kind_of(CollectLogs(request_id=""))


def occurred_at(at_ms: int | None, offset_ms: int | None, received_at: datetime) -> datetime:
    """The cabinet's time on our clock, never later than the receipt; the receipt when nothing better is known."""
    if at_ms is None or offset_ms is None:
        return received_at
    try:
        occurred = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms + offset_ms)
    except OverflowError:
        return received_at
    return min(occurred, received_at)


@runtime_checkable
class TakesMany(Protocol):
    """A `FactHandler` that can also take many facts of different stations at once.

    Each method applies those of `facts` that are simple enough, as if they came one by one, and returns them.
    """

    def answers(self, session: Session, facts: Sequence[DeviceFact], now: datetime) -> list[DeviceFact]:
        """Results of commands that move no metal and change nothing else: in any order with everything else."""
        ...

    def inventories(self, session: Session, facts: Sequence[DeviceFact], now: datetime) -> list[DeviceFact]:
        """At most one of each station."""
        ...


class Business:
    """What is behind the gateway."""

    def __init__(self, policy: RentalPolicy) -> None:
        self._policy = policy

    def __call__(self, session: Session, fact: DeviceFact, now: datetime) -> None:
        if isinstance(fact.message, CommandResult) and heard_before(session, fact, fact.message):
            return
        # Held, so that the session knows it while everybody below asks for it.
        command = _command_of(session, fact)
        apply_fact(session, fact, self._policy, now)
        _upkeep(session, fact, command, now)

    def answers(self, session: Session, facts: Sequence[DeviceFact], now: datetime) -> list[DeviceFact]:
        told = [(fact, fact.message) for fact in facts if isinstance(fact.message, CommandResult)]
        settled = settle_questions(session, [(fact.station_id, result) for fact, result in told], now)
        return [fact for fact, result in told if (fact.station_id, result.command_id) in settled]

    def inventories(self, session: Session, facts: Sequence[DeviceFact], now: datetime) -> list[DeviceFact]:
        told = [(fact, fact.message) for fact in facts if isinstance(fact.message, Inventory)]
        return take_quiet(session, told, self._policy, now)


def fact_handler(settings: Settings) -> Business:
    return Business(RentalPolicy.from_settings(settings))


def _command_of(session: Session, fact: DeviceFact) -> DeviceCommand | None:
    """The command of this station that its result names."""
    return command_named(session, fact, fact.message.command_id) if isinstance(fact.message, CommandResult) else None


def _upkeep(session: Session, fact: DeviceFact, command: DeviceCommand | None, now: datetime) -> None:
    """What is about the cabinet itself and neither banks nor money."""
    message = fact.message
    if isinstance(message, ConfigReport):
        reports.take_report(session, fact, message, now)
    elif isinstance(message, FirmwareProgress):
        sweep.take_progress(session, fact, message, now)
    elif isinstance(message, LogChunk):
        collect.take_chunk(session, fact, message, now)
    elif command is not None and command.kind == _COLLECT_LOGS:
        collect.command_ended(session, command, now)


def slot_beyond(message: object, station: StationRef) -> int | None:
    """The slot that a message names and the station does not have."""
    slot: int | None = getattr(message, "slot", None)
    return slot if slot is not None and slot > station.slot_count else None
