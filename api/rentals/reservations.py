"""Banks that are kept for riders on their way."""

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import Response
from pydantic import ConfigDict, Field

from api.auth import CurrentUser
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent, IdempotentIfKeyed
from api.problems import problems
from api.rentals.schemas import StationCode
from api.schemas import Input, Instant, MoneyOut, Schema
from api.v1 import area
from fleet.rentals.starts import reservations
from fleet.rentals.starts.models import Reservation, ReservationState

router = area("rental", "rentals")


class ReserveIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"station": "ZRH-0001"}]})

    station: StationCode
    slot: Annotated[int | None, Field(ge=1, le=512, description="left out: the best bank is chosen")] = None
    pay: Annotated[Literal["wallet", "points"], Field(description="what the fee is held on")] = "wallet"


class ReservationOut(Schema):
    id: UUID
    state: ReservationState
    station: str
    slot: int
    power_bank: Annotated[str, Field(description="serial, as its label shows it")]
    expires_at: Instant
    fee: Annotated[MoneyOut, Field(description="if nobody comes; held until then")]
    charged: MoneyOut
    rental_id: Annotated[UUID | None, Field(description="that was started with it")]

    @classmethod
    def of(cls, reservation: Reservation) -> Self:
        return cls(
            id=reservation.id,
            state=reservation.state,
            station=reservation.station.code,
            slot=reservation.slot_number,
            power_bank=reservation.power_bank.serial,
            expires_at=reservation.expires_at,
            fee=MoneyOut.of(reservation.fee_minor, reservation.currency),
            charged=MoneyOut.of(reservation.charged_minor, reservation.currency),
            rental_id=reservation.rental_id,
        )


class Reservations(Schema):
    items: list[ReservationOut]


@router.post(
    "/reservation", operation_id="reserve_power_bank", summary="Have a power bank kept for some minutes",
    response_model=ReservationOut, status_code=201, responses=problems(401, 402, 403, 404, 409),
)  # fmt: skip
def reserve(
    body: ReserveIn, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now, once: Idempotent
) -> Response:
    """One at a time. A rental that is started at the station gets the bank; when nobody comes, and the bank could have
    been fetched, the tariff's `reservation_fee` is charged.
    """

    def work() -> ReservationOut:
        reservation = reservations.reserve(
            session, user_id=user.id, station_code=body.station, slot=body.slot, now=now, policy=runtime.policy,
            with_points=body.pay == "points",
        )  # fmt: skip
        return ReservationOut.of(reservation)

    return once.answer(session, now, work, status=201)


@router.get("/reservation", operation_id="current_reservations", summary="The bank that is kept for me, if any",
            responses=problems(401, 403))  # fmt: skip
def current(session: SessionDep, user: CurrentUser) -> Reservations:
    found = reservations.current(session, user.id)
    return Reservations(items=[] if found is None else [ReservationOut.of(found)])


@router.post(
    "/reservation/{reservation_id}/cancel", operation_id="cancel_reservation", summary="I am not coming",
    response_model=ReservationOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def cancel(reservation_id: UUID, session: SessionDep, user: CurrentUser, now: Now, once: IdempotentIfKeyed) -> Response:
    """Nothing is charged. Cancelling again changes nothing."""

    def work() -> ReservationOut:
        found = reservations.cancel_reservation(session, user_id=user.id, reservation_id=reservation_id, now=now)
        return ReservationOut.of(found)

    return once.answer(session, now, work)
