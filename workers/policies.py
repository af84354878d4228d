"""Retry policies, by name."""

from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from fleet.payments.providers.base import OutcomeUnknown
from fleet.users.errors import MessageNotAccepted


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failures a task tries again by itself, how often, and the longest wait in between (seconds, jittered)."""

    on: tuple[type[Exception], ...] = ()
    times: int = 0
    longest_s: int = 5


#: A periodic task: the next tick is the retry.
NEXT_TICK = RetryPolicy()

#: A consumer of the outbox: three quick tries for what passes by itself (a database restart, a deadlock, a
#: mail server that is busy). After that the relay sends the event again, ever more slowly, until it is processed: see
#: workers/relay.py.
QUICK_THEN_RELAY = RetryPolicy(
    on=(DBAPIError, ConnectionError, TimeoutError, OutcomeUnknown, MessageNotAccepted), times=3
)
