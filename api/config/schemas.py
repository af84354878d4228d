from typing import Annotated

from pydantic import Field, JsonValue

from api.schemas import Schema


class PublicConfigOut(Schema):
    """`version` grows with every change."""

    values: Annotated[dict[str, JsonValue], Field(examples=[{"support.email": "help@example.com"}])]
    version: Annotated[int, Field(examples=[3])]
    guests_allowed: Annotated[bool, Field(description="who has no account may rent by card (`/user/guest`)")]


class CountryOut(Schema):
    iso_code: Annotated[str, Field(examples=["CH"])]
    name: Annotated[str, Field(examples=["Switzerland"])]
    dial_code: Annotated[str, Field(examples=["+41"])]
    currency: Annotated[str, Field(examples=["CHF"])]
    locale: Annotated[str, Field(examples=["de-CH"])]
    time_zone: Annotated[str, Field(examples=["Europe/Zurich"])]


class Countries(Schema):
    items: list[CountryOut]
