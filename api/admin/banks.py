"""The fleet's banks: where they are, what is decided about them, what became of them."""

from typing import Annotated

from fastapi import Path, Query

from api.admin.acts import ActsDep
from api.admin.device_schemas import BankOut, BecauseIn, HoldIn
from api.admin.schemas import BanksIn, BanksOut, Code
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.rentals.cases import banks as decisions
from fleet.stations import service
from fleet.stations.banks import bank_page, bank_view
from fleet.stations.models import PowerBankState

router = area("admin", "admin")

SerialPath = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,64}$", examples=["PB00012345"])]


@router.get("/bank", operation_id="admin_list_banks", summary="Power banks", responses=problems(401, 403))
def list_banks(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: PowerBankState | None = None,
    known: Annotated[bool | None, Query(description="false: foreign ones that cabinets reported")] = None,
    station: Annotated[Code | None, Query(description="in one of its slots")] = None,
    serial: Annotated[str | None, Query(max_length=64, description="begins so")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[BankOut]:
    rows = bank_page(
        session,
        limit=limit + 1,
        after_id=runtime.cursors.read("banks", cursor),
        state=state,
        known=known,
        station=station,
        search=serial,
    )
    more = runtime.cursors.make("banks", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[BankOut.model_validate(row) for row in rows[:limit]], next=more)


@router.post(
    "/bank", operation_id="admin_add_banks", summary="Enter power banks into the fleet", responses=problems(401, 403)
)
def add_banks(body: BanksIn, acts: ActsDep) -> BanksOut:
    """A bank that a cabinet reported before as foreign is adopted. Sent again it changes nothing."""
    report = service.add_power_banks(acts.session, body.serials, acts.now)
    acts.record("bank.add", detail={"serials": body.serials})
    return BanksOut(added=report.added, already_known=report.already_known)


@router.get("/bank/{serial}", operation_id="admin_get_bank", summary="One bank", responses=problems(401, 403, 404))
def get_bank(serial: SerialPath, session: SessionDep, _: CurrentOperator) -> BankOut:
    return BankOut.model_validate(bank_view(session, serial))


@router.post(
    "/bank/{serial}/hold", operation_id="admin_hold_bank", summary="Keep a bank from riders: quarantine, damage, loss",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def hold_bank(serial: SerialPath, body: HoldIn, acts: ActsDep) -> BankOut:
    """No cabinet undoes it. A bank that lies in a slot cannot be lost (409)."""
    decisions.hold(acts.session, serial, body.state, reason=body.reason, actor=acts.actor, now=acts.now)
    return _page(acts, serial)


@router.post(
    "/bank/{serial}/release", operation_id="admin_release_bank", summary="Give a bank back to the fleet",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def release_bank(serial: SerialPath, body: BecauseIn, acts: ActsDep) -> BankOut:
    """Whoever held it, people or rules: available in its slot, rented with its rider, else missing."""
    decisions.release(acts.session, serial, reason=body.reason, actor=acts.actor, now=acts.now)
    return _page(acts, serial)


@router.post(
    "/bank/{serial}/adopt", operation_id="admin_adopt_bank", summary="Make a foreign bank one of the fleet's",
    responses=problems(401, 403, 404),
)  # fmt: skip
def adopt_bank(serial: SerialPath, body: BecauseIn, acts: ActsDep) -> BankOut:
    """Sent again it changes nothing."""
    decisions.adopt(acts.session, serial, reason=body.reason, actor=acts.actor, now=acts.now)
    return _page(acts, serial)


def _page(acts: ActsDep, serial: str) -> BankOut:
    acts.session.flush()  # the page is read back by SQL
    return BankOut.model_validate(bank_view(acts.session, serial))
