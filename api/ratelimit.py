"""Rate limits per user, address and route. Each process counts for itself and tells Redis a few times a second, which
adds up what all processes have counted: no request waits for Redis, and none fails without it (decision 0042).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

#: Adds to the counter of every key, begins a window with its first request, and answers totals and time left.
_SCRIPT = """
local out = {}
for i, key in ipairs(KEYS) do
  local total = redis.call('INCRBY', key, ARGV[2 * i - 1])
  local left = redis.call('PTTL', key)
  if left < 0 then
    left = tonumber(ARGV[2 * i])
    redis.call('PEXPIRE', key, left)
  end
  out[2 * i - 1] = total
  out[2 * i] = left
end
return out
"""
#: How long processes may not know of each other's requests.
SHARE_EVERY_S = 0.1
#: A lost Redis is tried again after this long; meanwhile the process's own count holds.
_REST_S = 2.0
#: Keys of one call: Redis does nothing else meanwhile.
_BATCH = 500
_TIDY_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` requests in `window_s` from one caller (`per`: "user" or "address") to what the rule covers."""

    name: str
    limit: int
    window_s: int
    per: str = "user"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The tightest of a request's limits. `reset_s`: seconds until its window ends."""

    rule: str
    limit: int
    remaining: int
    reset_s: int
    allowed: bool


@dataclass(slots=True)
class _Window:
    """`count` is everybody's as far as it is known; `untold` of it Redis has not heard of."""

    ends: float
    count: int = 0
    untold: int = 0


class RateLimiter:
    """`scale` multiplies every limit; 0 switches them off. Lives on the event loop; `run` shares the counts."""

    def __init__(self, redis: "Redis", scale: float = 1.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._scale = scale
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        self._untold: dict[str, int] = {}
        self._tidied = clock()

    def hit(self, rules: Sequence[Rule], *, user: str | None, address: str) -> Verdict | None:
        """Count one request against all its rules; None when they are switched off."""
        if not self._scale:
            return None
        now = self._clock()
        return min(
            (self._count(rule, address if rule.per == "address" or user is None else user, now) for rule in rules),
            key=lambda verdict: (verdict.allowed, verdict.remaining / verdict.limit),
        )

    def _count(self, rule: Rule, caller: str, now: float) -> Verdict:
        key = f"vb:rate:{rule.name}:{caller}"
        window = self._windows.get(key)
        if window is None or window.ends <= now:
            window = self._windows[key] = _Window(now + rule.window_s)
        window.count += 1
        window.untold += 1
        self._untold[key] = rule.window_s
        limit = max(1, round(rule.limit * self._scale))
        left, reset_s = max(0, limit - window.count), min(int(window.ends - now) + 1, rule.window_s)
        return Verdict(rule.name, limit, left, reset_s, allowed=window.count <= limit)

    async def run(self) -> None:
        """Share counts until cancelled."""
        while True:
            fine = await self.share()
            await asyncio.sleep(SHARE_EVERY_S if fine else _REST_S)

    async def share(self) -> bool:
        """Tell Redis what was counted and learn what others have; False when it is away."""
        while self._untold:
            batch = dict(islice(self._untold.items(), _BATCH))
            told = {key: self._windows[key].untold for key in batch}
            args = [value for key, window_s in batch.items() for value in (told[key], window_s * 1000)]
            try:
                answer = await cast("Awaitable[list[Any]]", self._script(keys=list(batch), args=args))
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("rate_limits_alone", error=str(error))
                return False
            self._learn(told, answer)
        self._tidy()
        return True

    def _learn(self, told: dict[str, int], answer: list[Any]) -> None:
        now = self._clock()
        for index, (key, count) in enumerate(told.items()):
            window = self._windows[key]
            window.untold = max(0, window.untold - count)  # it may be a new one since
            window.count = int(answer[2 * index]) + window.untold
            window.ends = now + int(answer[2 * index + 1]) / 1000
            if not window.untold:
                self._untold.pop(key, None)

    def _tidy(self) -> None:
        now = self._clock()
        if now - self._tidied > _TIDY_EVERY_S:
            self._tidied = now
            for key in [key for key, window in self._windows.items() if window.ends <= now]:
                del self._windows[key]
                self._untold.pop(key, None)

    async def ping(self) -> bool:
        try:
            return bool(await self._redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        await self._redis.aclose()
