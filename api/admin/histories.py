"""What became of a bank, a slot, a station, newest first."""

from datetime import datetime

from api.admin.banks import SerialPath
from api.admin.device_schemas import HistoryOut
from api.admin.schemas import Code
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT, Cursors
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.rentals.records import histories
from fleet.rentals.records.histories import HistoryEntry

router = area("admin", "admin")


@router.get(
    "/bank/{serial}/history", operation_id="admin_bank_history",
    summary="Where a bank was, who had it, what was decided about it", responses=problems(401, 403, 404),
)  # fmt: skip
def bank_history(
    serial: SerialPath,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[HistoryOut]:
    after = _read(runtime.cursors, cursor)
    return _page(histories.bank_history(session, serial, limit=limit + 1, after=after), limit, runtime.cursors)


@router.get(
    "/station/{code}/history", operation_id="admin_station_history",
    summary="Presence, commands, what came and went, what was decided", responses=problems(401, 403, 404),
)  # fmt: skip
def station_history(
    code: Code,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[HistoryOut]:
    after = _read(runtime.cursors, cursor)
    return _page(histories.station_history(session, code, limit=limit + 1, after=after), limit, runtime.cursors)


@router.get(
    "/station/{code}/slot/{number}/history", operation_id="admin_slot_history",
    summary="What came and went in a slot, what was ordered, what was decided", responses=problems(401, 403, 404),
)  # fmt: skip
def slot_history(
    code: Code,
    number: int,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[HistoryOut]:
    after = _read(runtime.cursors, cursor)
    found = histories.slot_history(session, code, number, limit=limit + 1, after=after)
    return _page(found, limit, runtime.cursors)


def _read(cursors: Cursors, cursor: str | None) -> histories.Cursor | None:
    found = cursors.read("history", cursor)
    return None if found is None else histories.Cursor(datetime.fromisoformat(found[0]), found[1])


def _page(found: list[HistoryEntry], limit: int, cursors: Cursors) -> Page[HistoryOut]:
    more = None
    if len(found) > limit:
        last = found[limit - 1]
        more = cursors.make("history", [last.at.isoformat(), last.id])
    return Page(items=[HistoryOut.of(entry) for entry in found[:limit]], next=more)
