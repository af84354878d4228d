"""How a function becomes a task: a name, a retry policy, no result."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from celery import Task

from workers.app import app
from workers.policies import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")


def task(name: str, policy: RetryPolicy) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Register the function under `name`. Tasks take ids only."""

    def register(function: Callable[P, R]) -> Task[P, R]:
        made: Task[P, R] = app.task(
            name=name,
            autoretry_for=policy.on,
            max_retries=policy.times,
            retry_backoff=1,
            retry_backoff_max=policy.longest_s,
            retry_jitter=True,
        )(function)
        return made

    return register
