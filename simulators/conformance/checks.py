"""What a check is."""

from collections.abc import Callable
from typing import NamedTuple

from simulators.conformance.bench import Bench


class Check(NamedTuple):
    """`run` returns when the cabinet does as `requirement` asks, and raises one of `verdicts` otherwise."""

    requirement: str
    title: str
    run: Callable[[Bench], None]
