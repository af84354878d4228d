"""The sandbox inbox. Its router is only included in development: in production there is no such page."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.deps import SessionDep
from api.sandbox.page import CONTENT_POLICY, render
from api.sandbox.schemas import Inbox, SandboxMessageOut
from fleet.users.models import SandboxMessage

router = APIRouter(prefix="/sandbox", tags=["sandbox"])

_NEWEST = 50


def _messages(session: Session, destination: str | None) -> Inbox:
    query = select(SandboxMessage).order_by(SandboxMessage.sent_at.desc(), SandboxMessage.id.desc()).limit(_NEWEST)
    if destination is not None:
        query = query.where(SandboxMessage.destination == destination.strip().lower())
    return Inbox(items=[SandboxMessageOut.model_validate(message) for message in session.scalars(query)])


@router.get(
    "/inbox",
    operation_id="sandbox_inbox_page",
    summary="Messages as a page for people",
    response_class=HTMLResponse,
)
def inbox_page(session: SessionDep) -> HTMLResponse:
    return HTMLResponse(render(_messages(session, None)), headers={"Content-Security-Policy": CONTENT_POLICY})


@router.get("/messages", operation_id="sandbox_messages", summary="Messages as JSON, newest first")
def messages(
    session: SessionDep,
    destination: Annotated[
        str | None,
        Query(max_length=254, description="phone (E.164) or e-mail address", examples=["rider@example.com"]),
    ] = None,
) -> Inbox:
    return _messages(session, destination)
