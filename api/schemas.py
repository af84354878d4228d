"""What every area's schemas build on."""

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from api.paging import MAX_LIMIT
from fleet.common.money import Money


class Schema(BaseModel):
    """Answers: read from models and dataclasses."""

    model_config = ConfigDict(from_attributes=True)


class Input(BaseModel):
    """Requests: an unknown member is a mistake of the caller and is said so."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its offset, as 2026-11-23T12:00:00Z")
    return value.astimezone(UTC)


#: RFC 3339 in UTC with milliseconds.
Instant = Annotated[datetime, AfterValidator(_aware), PlainSerializer(_rfc3339, return_type=str, when_used="json")]

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217", examples=["EUR"])]


class MoneyOut(Schema):
    """An amount in minor units (cents) of its currency."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount_minor": 250, "currency": "EUR"}]})

    amount_minor: int
    currency: Currency

    @classmethod
    def of(cls, amount_minor: int, currency: str) -> "MoneyOut":
        return cls(amount_minor=amount_minor, currency=currency)


class MoneyIn(Input):
    amount_minor: Annotated[int, Field(gt=0, le=100_000_000, examples=[1000])]
    currency: Currency

    def money(self) -> Money:
        return Money(self.amount_minor, self.currency)


Item = TypeVar("Item", bound=BaseModel)


class Page(Schema, Generic[Item]):
    """One page of a list. `next` goes into `cursor` for the following one; null at the end."""

    items: list[Item]
    next: str | None = None


Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="how many at most")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before")]
