from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from firmware_protocol.commands import Command, EjectPowerBank, LockSlot, QueryInventory, SetConfig, UpdateFirmware
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome
from fleet.common.errors import IllegalTransition
from fleet.devices import commands, queries
from fleet.devices.models import CommandState, DeviceCommand, DeviceEvent
from fleet.stations.models import Station

EJECT = EjectPowerBank(slot=3, serial="PB1")
SECOND = timedelta(seconds=1)


@pytest.fixture
def station(session: Session, now: datetime) -> Station:
    station = Station(
        code="CMD", name="n", latitude=0.0, longitude=0.0, h3_cell=0, slot_count=4, created_at=now, updated_at=now
    )
    session.add(station)
    session.flush()
    return station


def queue(
    session: Session, station: Station, now: datetime, command: Command = EJECT, within_s: float = 15
) -> DeviceCommand:
    deadline = now + within_s * SECOND
    row = commands.queue_command(session, station_id=station.id, command=command, deadline=deadline, now=now)
    session.flush()
    return row


def sent(session: Session, station: Station, now: datetime) -> DeviceCommand:
    row = queue(session, station, now)
    row.state, row.sent_at, row.attempt = CommandState.SENT, now, 1
    session.flush()
    return row


def settle(session: Session, row: DeviceCommand, outcome: CommandOutcome, now: datetime) -> DeviceCommand | None:
    result = CommandResult(command_id=str(row.id), outcome=outcome, slot=3, serial="PB1", code="c")
    return commands.settle_command(session, str(row.id), result, now)


@pytest.mark.parametrize(
    "command",
    [
        EJECT,
        EjectPowerBank(slot=1),
        LockSlot(slot=2),
        SetConfig(version=3, values={"a": 1, "b": None, "c": "x"}),
        UpdateFirmware(manifest=b"\x00\xff", url="https://example.org/f"),
    ],
)
def test_a_row_stands_for_its_command(session: Session, station: Station, now: datetime, command: Command) -> None:
    row = queue(session, station, now, command)
    session.expire(row)
    assert commands.command_of(row) == command
    assert row.state is CommandState.QUEUED


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (CommandOutcome.SUCCEEDED, CommandState.SUCCEEDED),
        (CommandOutcome.FAILED, CommandState.FAILED),
        (CommandOutcome.BUSY, CommandState.FAILED),
        (CommandOutcome.INVALID, CommandState.FAILED),
        (CommandOutcome.UNSUPPORTED, CommandState.FAILED),
        (CommandOutcome.EXPIRED, CommandState.EXPIRED),
    ],
)
def test_an_answer_settles_once(
    session: Session, station: Station, now: datetime, outcome: CommandOutcome, state: CommandState
) -> None:
    row = sent(session, station, now)
    settled = settle(session, row, outcome, now + SECOND)
    assert settled is row
    assert (row.state, row.outcome, row.code, row.result_slot, row.result_serial) == (state, outcome, "c", 3, "PB1")
    assert row.settled_at == now + SECOND
    assert settle(session, row, outcome, now + 2 * SECOND) is None
    assert row.settled_at == now + SECOND


@pytest.mark.parametrize("name", ["not-a-uuid", "00000000-0000-7000-8000-000000000000"])
def test_an_answer_to_nothing_of_ours(session: Session, now: datetime, name: str) -> None:
    result = CommandResult(command_id=name, outcome=CommandOutcome.SUCCEEDED)
    assert commands.settle_command(session, name, result, now) is None


def test_answers_to_many_questions_settle_them_and_nothing_else(
    session: Session, station: Station, now: datetime
) -> None:
    asked = [queue(session, station, now, QueryInventory()) for _ in range(3)]
    asked[0].state = asked[1].state = CommandState.SENT
    eject = sent(session, station, now)
    session.flush()

    def answer(command_id: object, outcome: CommandOutcome = CommandOutcome.SUCCEEDED) -> CommandResult:
        return CommandResult(command_id=str(command_id), outcome=outcome)

    failed = answer(asked[0].id, CommandOutcome.FAILED)
    answers = [
        (station.id, answer(asked[0].id)),
        (station.id, failed),  # a success stands
        (station.id + 1, answer(asked[1].id)),  # not that station's
        (station.id, answer(asked[2].id)),  # sent, although the claim was lost
        (station.id, answer(eject.id)),
        (station.id, answer("not-a-uuid")),
        (station.id, answer(uuid4())),
    ]
    dealt_with = commands.settle_questions(session, answers, now)
    assert dealt_with == {(station.id, str(asked[0].id)), (station.id, str(asked[2].id))}
    assert [row.state for row in (*asked, eject)] == ["succeeded", "sent", "succeeded", "sent"]
    assert [row.settled_at for row in asked] == [now, None, now]


def test_a_late_success_outlives_a_verdict_and_no_failure_undoes_a_success(
    session: Session, station: Station, now: datetime
) -> None:
    row = sent(session, station, now)
    commands.mark_unknown(session, row, now)
    assert commands.unknown_ejects(session, station.id) == [row]
    commands.give_verdict(session, row, CommandState.FAILED, now, code="still_there")
    commands.give_verdict(session, row, CommandState.FAILED, now, code="again")
    assert (row.state, row.code) == (CommandState.FAILED, "still_there")
    assert settle(session, row, CommandOutcome.SUCCEEDED, now) is row
    assert row.state is CommandState.SUCCEEDED
    assert settle(session, row, CommandOutcome.FAILED, now) is None
    with pytest.raises(IllegalTransition, match="succeeded to unknown"):
        commands.mark_unknown(session, row, now)


def test_overdue_is_past_the_deadline_and_for_sent_ones_past_the_grace(
    session: Session, station: Station, now: datetime
) -> None:
    waiting = sent(session, station, now)
    late = queue(session, station, now, LockSlot(slot=1), within_s=15)
    grace = timedelta(seconds=3)

    def overdue(seconds: float) -> list[DeviceCommand]:
        found = commands.overdue_commands(session, now + seconds * SECOND, grace, 100)
        return [row for row in found if row.station_id == station.id]

    assert overdue(15) == []
    assert overdue(16) == [late]
    assert set(overdue(18.5)) == {late, waiting}
    commands.mark_expired(session, late, now)
    commands.mark_unknown(session, waiting, now)
    assert overdue(100) == []


def test_only_a_queued_command_can_be_cancelled(session: Session, station: Station, now: datetime) -> None:
    row = queue(session, station, now)
    assert commands.cancel_command(session, row.id, now) is True
    assert commands.cancel_command(session, row.id, now) is False
    gone = sent(session, station, now)
    assert commands.cancel_command(session, gone.id, now) is False


def test_the_database_holds_one_eject_in_flight_per_station(session: Session, station: Station, now: datetime) -> None:
    first = sent(session, station, now)
    commands.mark_unknown(session, first, now)
    with pytest.raises(IntegrityError, match="uq_device_command_eject_in_flight"), session.begin_nested():
        sent(session, station, now)
    commands.give_verdict(session, first, CommandState.ABANDONED, now)
    sent(session, station, now)


def test_a_rentals_frames_are_what_was_sent_and_what_answered(
    session: Session, station: Station, now: datetime
) -> None:
    row = sent(session, station, now)
    row.rental_id, row.payload = uuid4(), b'{"v":1,"type":"eject_power_bank"}'

    def event(seq: int, raw: bytes, encoding: int) -> None:
        session.add(
            DeviceEvent(
                station_id=station.id,
                boot=1,
                seq=seq,
                type="t",
                received_at=now + seq * SECOND,
                replayed=False,
                raw=raw,
                encoding=encoding,
            )
        )

    event(1, b'{"data":{"command_id":"%s"}}' % str(row.id).encode(), 1)
    event(2, b'{"data":{}}', 1)
    event(3, b"\xa1\x64data\x42\x00\xff", 2)
    session.flush()
    frames = queries.frames_of_rental(session, row.rental_id, ["CMD:1:3", "inventory", "CMD:9:9"])
    assert [(frame.sent, frame.seq) for frame in frames] == [(True, None), (False, 1), (False, 3)]
    assert frames[0].body["type"] == "eject_power_bank"
    assert frames[2].body == {"data": "00ff"}
