"""A partner's own view: stations, what they earn, payouts. People sign in as riders do, with a code (`/user/auth`)."""

from collections.abc import Iterator
from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from fastapi.responses import StreamingResponse

from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent, IdempotentIfKeyed
from api.paging import DEFAULT_LIMIT
from api.partners.access import PortalDep
from api.partners.schemas import (
    AgreementOut,
    Agreements,
    PartnerSelf,
    PartnerStationDetail,
    PartnerStationOut,
    PayoutIn,
    PayoutOut,
    RevenueOut,
    RevenueReport,
    ShareOut,
    StationCode,
)
from api.payments.schemas import StatementLineOut
from api.problems import problems
from api.schemas import Currency, Cursor, Limit, Page
from api.v1 import area
from fleet.db import session_scope
from fleet.partners import payouts, queries
from fleet.partners.queries import Period
from fleet.payments import statements
from fleet.stations.queries import station_view

router = area("partner", "partners")


@router.get("/me", operation_id="partner_me", summary="Whom I work for, and what the house owes us",
            responses=problems(401, 403))  # fmt: skip
def me(
    session: SessionDep, runtime: RuntimeDep, portal: PortalDep, now: Now, currency: Currency | None = None
) -> PartnerSelf:
    found = payouts.balance(session, portal.partner.id, currency or runtime.settings.currency, now)
    return PartnerSelf.of(portal.partner, found)


@router.get("/station", operation_id="partner_stations", summary="Our stations and our vendors', with live status",
            responses=problems(401, 403))  # fmt: skip
def stations(
    session: SessionDep,
    runtime: RuntimeDep,
    portal: PortalDep,
    now: Now,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[PartnerStationOut]:
    after = runtime.cursors.read("partner stations", cursor) or 0
    rows = queries.stations(session, portal.partner, now, limit + 1, after)
    more = runtime.cursors.make("partner stations", rows[limit - 1].station.id) if len(rows) > limit else None
    return Page(items=[PartnerStationOut.of(row) for row in rows[:limit]], next=more)


@router.get("/station/{code}", operation_id="partner_station", summary="One of our stations with its slots",
            responses=problems(401, 403, 404))  # fmt: skip
def station(
    code: StationCode, session: SessionDep, runtime: RuntimeDep, portal: PortalDep, now: Now
) -> PartnerStationDetail:
    queries.station_of(session, portal.partner, code, now)
    found = station_view(session, code, now=now, min_charge_pct=runtime.policy.min_charge_pct)
    return PartnerStationDetail.model_validate(found)


@router.get("/revenue", operation_id="partner_revenue", summary="What we earned by day, week or month",
            responses=problems(401, 403))  # fmt: skip
def revenue(
    session: SessionDep,
    runtime: RuntimeDep,
    portal: PortalDep,
    first: Annotated[date, Query(alias="from")],
    last: Annotated[date, Query(alias="to", description="included")],
    by: Period = Period.DAY,
    currency: Currency | None = None,
) -> RevenueReport:
    """In our own time zone. As it stands now: a refund lowers the period in which the rental ended."""
    used = currency or runtime.settings.currency
    rows = queries.revenue(session, portal.partner, currency=used, period=by, first=first, last=last)
    return RevenueReport(items=[RevenueOut.of(row, used) for row in rows])


@router.get("/share", operation_id="partner_shares", summary="What we earned of each rental, newest first",
            responses=problems(401, 403))  # fmt: skip
def shares(
    session: SessionDep, runtime: RuntimeDep, portal: PortalDep, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ShareOut]:
    before = runtime.cursors.read("shares", cursor)
    rows = queries.shares(session, portal.partner.id, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("shares", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[ShareOut.of(row) for row in rows[:limit]], next=more)


@router.get("/agreement", operation_id="partner_agreements", summary="What was agreed with us",
            responses=problems(401, 403))  # fmt: skip
def agreements(session: SessionDep, portal: PortalDep) -> Agreements:
    return Agreements(items=[AgreementOut.of(row) for row in queries.agreements(session, [portal.partner.id])])


@router.get("/statement", operation_id="partner_statement", summary="What moved our balance, newest first",
            responses=problems(401, 403))  # fmt: skip
def statement(
    session: SessionDep,
    runtime: RuntimeDep,
    portal: PortalDep,
    now: Now,
    currency: Currency | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[StatementLineOut]:
    account = payouts.account_of(session, portal.partner.id, currency or runtime.settings.currency, now)
    page = statements.statement(session, account, limit, runtime.cursors.read("partner statement", cursor))
    more = None if page.next is None else runtime.cursors.make("partner statement", page.next)
    return Page(items=[StatementLineOut.of(line) for line in page.lines], next=more)


@router.get(
    "/statement.csv", operation_id="partner_statement_csv", summary="The whole statement as CSV",
    response_class=StreamingResponse,
    responses={**problems(401, 403), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)  # fmt: skip
def statement_csv(
    session: SessionDep, runtime: RuntimeDep, portal: PortalDep, now: Now, currency: Currency | None = None
) -> StreamingResponse:
    account = payouts.account_of(session, portal.partner.id, currency or runtime.settings.currency, now)

    def rows() -> Iterator[str]:
        # A transaction of its own: the request's is over before the answer is sent.
        with session_scope(runtime.engine) as own:
            yield from statements.as_csv(own, account)

    headers = {"Content-Disposition": 'attachment; filename="statement.csv"'}
    return StreamingResponse(rows(), media_type="text/csv; charset=utf-8", headers=headers)


@router.post(
    "/payout", operation_id="partner_request_payout", summary="Ask for our money", status_code=201,
    response_model=PayoutOut, responses=problems(401, 402, 403, 409),
)  # fmt: skip
def request_payout(body: PayoutIn, session: SessionDep, portal: PortalDep, now: Now, once: Idempotent) -> Response:
    """It is held from now on, until it is paid, refused or taken back."""

    def work() -> PayoutOut:
        return PayoutOut.of(payouts.request(session, portal.partner, body.money(), actor_id=portal.user.id, now=now))

    return once.answer(session, now, work, status=201)


@router.get("/payout", operation_id="partner_payouts", summary="Our payouts, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_payouts(
    session: SessionDep, runtime: RuntimeDep, portal: PortalDep, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[PayoutOut]:
    before = runtime.cursors.read("payouts", cursor)
    rows = payouts.payouts(
        session, limit=limit + 1, before=UUID(before) if before else None, partner_id=portal.partner.id
    )
    more = runtime.cursors.make("payouts", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[PayoutOut.of(row) for row in rows[:limit]], next=more)


@router.get("/payout/{payout_id}", operation_id="partner_payout", summary="One of our payouts",
            responses=problems(401, 403, 404))  # fmt: skip
def get_payout(payout_id: UUID, session: SessionDep, portal: PortalDep) -> PayoutOut:
    return PayoutOut.of(payouts.payout_of(session, portal.partner, payout_id))


@router.post("/payout/{payout_id}/cancel", operation_id="partner_cancel_payout", summary="Take a request back",
             response_model=PayoutOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def cancel_payout(
    payout_id: UUID, session: SessionDep, portal: PortalDep, now: Now, once: IdempotentIfKeyed
) -> Response:
    """While nobody has decided it."""
    return once.answer(session, now, lambda: PayoutOut.of(payouts.cancel(session, portal.partner, payout_id, now)))
