"""How a function becomes a task: a name, a retry policy, no result."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from celery import Task

from workers.app import app
from workers.policies import NEXT_TICK, RetryPolicy
from workers.runs import noting

P = ParamSpec("P")
R = TypeVar("R")


def task(name: str, policy: RetryPolicy) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Register the function under `name`. Tasks take ids only; the runs of periodic ones are noted (`voltbay jobs`)."""

    def register(function: Callable[P, R]) -> Task[P, R]:
        work = _noted(name, function) if policy is NEXT_TICK else function
        made: Task[P, R] = app.task(
            name=name,
            autoretry_for=policy.on,
            max_retries=policy.times,
            retry_backoff=1,
            retry_backoff_max=policy.longest_s,
            retry_jitter=True,
        )(work)
        return made

    return register


def _noted(name: str, function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return noting(name, lambda: function(*args, **kwargs))

    return run
