"""The root of everything a service may refuse. `api/errors.py` maps these to problem+json and nothing else does."""

from typing import Any, ClassVar


class FleetError(Exception):
    """A business fact that stops a use case. `code` is stable and public; attributes name what it was about."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **attributes: Any) -> None:
        super().__init__(message)
        self.message = message
        self.attributes = attributes


class NotFound(FleetError):
    """The object does not exist, or is not the caller's: both look the same from outside."""

    code = "not_found"


class InvalidInput(FleetError):
    """A value that its type allows and the business does not. `field` names it."""

    code = "invalid_input"


class Conflict(FleetError):
    """The object is not in a state that allows this."""

    code = "conflict"


class Forbidden(FleetError):
    """The caller is known, and may not do this."""

    code = "forbidden"


class TooManyRequests(FleetError):
    """`retry_after_s` says when to come back."""

    code = "too_many_requests"


class IdempotencyKeyReused(FleetError):
    """The same key came with another request."""

    code = "idempotency_key_reused"


class IdempotencyKeyInUse(FleetError):
    """The first request under this key is still being worked on."""

    code = "idempotency_key_in_use"


class IllegalTransition(FleetError):
    """A state machine was asked for a move that its table does not hold."""

    code = "illegal_transition"

    def __init__(self, what: str, current: str, wanted: str) -> None:
        super().__init__(f"{what} cannot go from {current} to {wanted}", what=what, current=current, wanted=wanted)
