from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final

from fastapi import Query
from fastapi.responses import StreamingResponse

from api.admin.acts import ActsDep
from api.deps import RuntimeDep
from api.problems import problems
from api.schemas import Instant
from api.v1 import area
from fleet.common.errors import InvalidInput
from fleet.common.tables import Span, table
from fleet.db import session_scope
from fleet.partners.exports import EXPORTS as PARTNERS
from fleet.payments.exports import EXPORTS as PAYMENTS
from fleet.rentals.records.exports import EXPORTS as RENTALS
from fleet.stations.exports import EXPORTS as STATIONS

router = area("admin", "admin")

#: What happened at some time.
_HAPPENED: Final = {**RENTALS, **PAYMENTS, **PARTNERS}


class Export(StrEnum):
    STATIONS = "stations"
    SLOTS = "slots"
    BANKS = "banks"
    RENTALS = "rentals"
    TRANSFERS = "transfers"
    INVOICES = "invoices"
    REFUNDS = "refunds"
    WITHDRAWALS = "withdrawals"
    DEBTS = "debts"
    SHARES = "shares"
    PAYOUTS = "payouts"


@router.get(
    "/export/{what}.csv",
    operation_id="admin_export_csv",
    summary="The fleet, rentals, money or partners as CSV",
    response_class=StreamingResponse,
    responses={**problems(401, 403), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def export_csv(
    what: Export,
    runtime: RuntimeDep,
    acts: ActsDep,
    since: Instant | None = None,
    until: Annotated[Instant | None, Query(description="not included")] = None,
) -> StreamingResponse:
    """UTF-8. A text that a spreadsheet would take for a formula begins with an apostrophe. Amounts are in minor units.

    `since` and `until` are for what happened: not for stations, slots and banks, which are as they are now.
    """
    span = Span(since, until)
    if what not in _HAPPENED and span != Span():
        raise InvalidInput(f"{what} are exported as they are now", field="since" if since is not None else "until")
    acts.record(f"export.{what}")

    def rows() -> Iterator[str]:
        # A transaction of its own: the request's is over before the answer is sent.
        with session_scope(runtime.engine) as session:
            yield from table(session, _HAPPENED[what](span)) if what in _HAPPENED else STATIONS[what](session)

    headers = {"Content-Disposition": f'attachment; filename="{what}.csv"'}
    return StreamingResponse(rows(), media_type="text/csv; charset=utf-8", headers=headers)
