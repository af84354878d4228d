from uuid import UUID

from api.schemas import Instant, Schema


class SandboxMessageOut(Schema):
    """One message that a real sender would have delivered."""

    id: UUID
    destination: str
    body: str
    sent_at: Instant


class Inbox(Schema):
    items: list[SandboxMessageOut]
