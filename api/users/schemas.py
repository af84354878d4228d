from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import Input, Instant, Schema
from fleet.users import tokens
from fleet.users.models import Role, User

Email = Annotated[str, Field(max_length=254, examples=["rider@example.com"])]
Phone = Annotated[str, Field(max_length=32, description="with country code", examples=["+41791234567"])]


class Destination(Input):
    """Where the code goes: exactly one of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "rider@example.com"}]})

    email: Email | None = None
    phone: Phone | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.email is None) == (self.phone is None):
            raise ValueError("give an email or a phone, one of them")
        return self

    @property
    def address(self) -> str:
        return self.email or self.phone or ""


class CodeSent(Schema):
    """The same answer whether or not an account exists."""

    expires_at: Instant
    destination: Annotated[str, Field(description="as it was understood", examples=["rider@example.com"])]


class VerifyCode(Destination):
    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "rider@example.com", "code": "493817"}]})

    code: Annotated[str, Field(min_length=6, max_length=12, examples=["493817"])]


class RefreshIn(Input):
    refresh_token: Annotated[
        str, Field(min_length=20, max_length=200, examples=["4rC0nVd5hJ1mQ8sT2uW6xY9zB3eG7kLpNaRfDcSvEi0"])
    ]


class Tokens(Schema):
    """Send `access_token` as `Authorization: Bearer …`. The refresh token works once and gives the next pair."""

    access_token: str
    refresh_token: str
    token_type: Annotated[Literal["Bearer"], Field(examples=["Bearer"])] = "Bearer"  # noqa: S105  # not a secret
    expires_in: Annotated[int, Field(description="seconds the access token lives", examples=[900])]

    @classmethod
    def of(cls, pair: tokens.Tokens) -> "Tokens":
        return cls(access_token=pair.access_token, refresh_token=pair.refresh_token, expires_in=pair.expires_in_s)


class Me(Schema):
    id: UUID
    email: str | None
    phone: str | None
    guest: Annotated[bool, Field(description="without an account: neither e-mail nor phone are known")]
    name: str | None
    role: Role
    locale: Annotated[str, Field(examples=["en"])]
    time_zone: Annotated[str, Field(examples=["Europe/Zurich"])]
    country: str | None
    created_at: Instant

    @classmethod
    def of(cls, user: User) -> "Me":
        return cls.model_validate(user)


class SignedIn(Tokens):
    new: Annotated[bool, Field(description="true: this code made the account")]
    user: Me


class MePatch(Input):
    """What is absent stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Ada", "locale": "de-CH"}]})

    name: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    locale: Annotated[str | None, Field(min_length=2, max_length=16, description="BCP 47")] = None
    time_zone: Annotated[str | None, Field(max_length=64, description="IANA name")] = None


class GuestIn(Input):
    """All of it may be left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"country": "CH", "locale": "de-CH"}]})

    country: Annotated[str | None, Field(pattern="^[A-Z]{2}$", description="ISO 3166, of `/config/countries`")] = None
    locale: Annotated[str | None, Field(min_length=2, max_length=16, description="BCP 47")] = None


class SessionOut(Schema):
    """One sign-in on one device."""

    id: UUID
    user_agent: str | None
    created_at: Instant
    last_used_at: Instant
    expires_at: Instant
    current: Annotated[bool, Field(description="the one this request belongs to")]


class Sessions(Schema):
    items: list[SessionOut]
