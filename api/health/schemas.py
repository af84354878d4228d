from typing import Annotated, Literal

from pydantic import Field

from api.schemas import Schema


class Live(Schema):
    status: Literal["ok"] = "ok"


class Check(Schema):
    ok: bool
    detail: Annotated[str, Field(description="for people", examples=["at 20261123_09"])]
    #: Whether readiness depends on it: a lost Redis costs rate limits and time, not answers.
    required: bool = True


class Ready(Schema):
    status: Annotated[Literal["ready", "not_ready"], Field(examples=["ready"])]
    checks: dict[str, Check]
