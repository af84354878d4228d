"""What endpoints ask for: a transaction, the time, who is calling."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from api.operations import instant
from api.problems import request_id_of
from api.runtime import Runtime, runtime_of
from fleet.common.clock import utc_now
from fleet.db import session_scope


@instant
def _runtime(request: Request) -> Runtime:
    return runtime_of(request)


RuntimeDep = Annotated[Runtime, Depends(_runtime)]


def _session(runtime: RuntimeDep) -> Iterator[Session]:
    with session_scope(runtime.engine) as session:
        yield session


#: One transaction per request. Scope "function": it is committed before the answer is sent, so a failed commit is an
#: error that the caller sees.
SessionDep = Annotated[Session, Depends(_session, scope="function")]


def _reading(runtime: RuntimeDep) -> Iterator[Session]:
    with Session(runtime.reads) as session:
        yield session


#: For operations that only read, each statement by itself: no BEGIN, and no COMMIT to wait for. Statements of one
#: transaction would not see the same moment either (READ COMMITTED).
ReadingDep = Annotated[Session, Depends(_reading, scope="function")]


@instant
def _now() -> datetime:
    return utc_now()


Now = Annotated[datetime, Depends(_now)]


@instant
def _request_id(request: Request) -> str | None:
    return request_id_of(request)


@instant
def _address(request: Request) -> str:
    return address_of(request)


def address_of(request: HTTPConnection) -> str:
    """Where the request came from; uvicorn has already looked behind proxies that are trusted."""
    return request.client.host if request.client is not None else "unknown"


RequestId = Annotated[str | None, Depends(_request_id)]
Address = Annotated[str, Depends(_address)]
UserAgent = Annotated[str | None, Header(alias="User-Agent", include_in_schema=False)]
