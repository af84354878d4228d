"""What happens to a rental between its start and its end: packages and extensions."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from api.auth import CurrentAccount, CurrentUser
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.problems import problems
from api.rentals.schemas import ExtendIn, PackageOut, Packages, RentalOut, StationCode, SwapIn
from api.v1 import area
from fleet.rentals.starts import checks
from fleet.rentals.tariffs import packages
from fleet.rentals.underway import extensions, swaps
from fleet.stations.queries import find_station

router = area("rental", "rentals")


@router.get(
    "/packages", operation_id="rental_packages", summary="Packages that a rental from a station may be begun with",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def list_packages(
    station: Annotated[StationCode, Query(description="where the bank would be taken")],
    session: SessionDep,
    _: CurrentUser,
    now: Now,
) -> Packages:
    """Shortest first, in the currency of the station's tariff."""
    terms = checks.tariff_at(session, find_station(session, station), now).terms
    return Packages(items=[PackageOut.of(each) for each in packages.offers(session, terms.currency)])


@router.post(
    "/{rental_id}/extend", operation_id="extend_rental", summary="Add a package to a rental under way",
    response_model=RentalOut, responses=problems(401, 402, 403, 404, 409),
)  # fmt: skip
def extend(
    rental_id: UUID, body: ExtendIn, session: SessionDep, user: CurrentAccount, now: Now, once: Idempotent
) -> Response:
    """Before the time of a rental that was begun with a package is over, at most three times. A prepaid package's price
    is held at once; should the bank turn out to have been back before, it is not charged.
    """

    def work() -> RentalOut:
        rental = extensions.extend(session, user_id=user.id, rental_id=rental_id, package_id=body.package, now=now)
        return RentalOut.of(rental)

    return once.answer(session, now, work)


@router.post(
    "/{rental_id}/swap", operation_id="swap_power_bank", summary="Exchange a bank that is of no use",
    response_model=RentalOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def swap(
    rental_id: UUID,
    body: SwapIn,
    session: SessionDep,
    runtime: RuntimeDep,
    user: CurrentUser,
    now: Now,
    once: Idempotent,
) -> Response:
    """Soon after it left, once per rental. Another bank is kept; it comes out when this one is put into a slot of the
    station within some minutes. One rental, one price. If no other bank comes, the rental ends when this one was back.
    """

    def work() -> RentalOut:
        rental = swaps.ask_swap(
            session,
            user_id=user.id,
            rental_id=rental_id,
            station_code=body.station,
            reason=body.reason,
            now=now,
            policy=runtime.policy,
        )
        return RentalOut.of(rental)

    return once.answer(session, now, work)
