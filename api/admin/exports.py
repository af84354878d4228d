from collections.abc import Iterator
from enum import StrEnum

from fastapi.responses import StreamingResponse

from api.admin.acts import ActsDep
from api.deps import RuntimeDep
from api.problems import problems
from api.v1 import area
from fleet.db import session_scope
from fleet.stations.exports import EXPORTS

router = area("admin", "admin")


class Export(StrEnum):
    STATIONS = "stations"
    SLOTS = "slots"
    BANKS = "banks"


@router.get(
    "/export/{what}.csv",
    operation_id="admin_export_csv",
    summary="All stations, slots or banks as CSV",
    response_class=StreamingResponse,
    responses={**problems(401, 403), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def export_csv(what: Export, runtime: RuntimeDep, acts: ActsDep) -> StreamingResponse:
    """UTF-8. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    acts.record(f"export.{what}")

    def rows() -> Iterator[str]:
        # A transaction of its own: the request's is over before the answer is sent.
        with session_scope(runtime.engine) as session:
            yield from EXPORTS[what](session)

    headers = {"Content-Disposition": f'attachment; filename="{what}.csv"'}
    return StreamingResponse(rows(), media_type="text/csv; charset=utf-8", headers=headers)
