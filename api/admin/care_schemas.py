"""What operators put right of rentals."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.admin.schemas import Code, Reason, Serial
from api.schemas import Input, Instant
from fleet.rentals.cases.places import Place


class PlacedIn(Input):
    """`station` and `slot`: where the bank is; left out, nobody knows, and an orphan-bank case asks for it."""

    station: Code | None = None
    slot: Annotated[int | None, Field(ge=1, le=512)] = None
    reason: Reason

    @model_validator(mode="after")
    def _both(self) -> "PlacedIn":
        if (self.station is None) != (self.slot is None):
            raise ValueError("a place is a station and a slot")
        return self

    @property
    def place(self) -> Place | None:
        return None if self.station is None or self.slot is None else Place(self.station, self.slot)


class ForceCompleteIn(PlacedIn):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"station": "ZRH-0001", "slot": 3, "reason": "seen in the slot by staff"}]}
    )

    at: Annotated[Instant | None, Field(description="when it was back; left out: now")] = None


class ForceCancelIn(PlacedIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the cabinet kept the bank"}]})


class ReassignIn(PlacedIn):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"serial": "PB00012346", "station": "ZRH-0001", "slot": 3, "reason": "labels were mixed up"}]
        }
    )

    serial: Annotated[Serial, Field(description="of the bank that the rider really has")]


class BackDateIn(PlacedIn):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"at": "2026-11-25T12:00:00Z", "reason": "the station was offline"}]}
    )

    at: Annotated[Instant, Field(description="when it was back; never later than in the books")]


class ConfirmClaimIn(PlacedIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "seen in the slot by staff"}]})


class DecideDisputeIn(Input):
    """`amount_minor`, in the rental's currency, with `part` only."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"refund": "part", "amount_minor": 150, "reason": "the cabinet was offline"}]}
    )

    refund: Literal["full", "part", "none"]
    amount_minor: Annotated[int | None, Field(gt=0)] = None
    reason: Annotated[Reason, Field(description="the rider reads it")]

    @model_validator(mode="after")
    def _amount(self) -> "DecideDisputeIn":
        if (self.refund == "part") != (self.amount_minor is not None):
            raise ValueError("an amount goes with a refund in part, and with nothing else")
        return self

    @property
    def refund_minor(self) -> int | None:
        return 0 if self.refund == "none" else self.amount_minor


class PauseIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "no station near the rider takes banks"}]})

    since: Annotated[Instant | None, Field(description="left out: now")] = None
    until: Annotated[Instant | None, Field(description="left out: until it is resumed")] = None
    reason: Reason


class ResumeIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the station is back"}]})

    reason: Reason


class FoundIn(PlacedIn):
    """Without a place somebody has the bank in their hands: it is held back until it is released."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "handed in at the counter"}]})


class AssignIn(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"rental_id": "01938f1c-7a60-7cc5-9d1a-5d1f4c0e9f10", "reason": "the rider told us so"}]
        }
    )

    rental_id: UUID
    reason: Reason
