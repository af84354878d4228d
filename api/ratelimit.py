"""Rate limits per user, address and route, counted in Redis in one round trip. Without Redis requests pass."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

#: Counts every key of a request and says when its window ends. A window begins with its first request.
_SCRIPT = """
local out = {}
for i, key in ipairs(KEYS) do
  local count = redis.call('INCR', key)
  local left = redis.call('PTTL', key)
  if left < 0 then
    left = tonumber(ARGV[i])
    redis.call('PEXPIRE', key, left)
  end
  out[2 * i - 1] = count
  out[2 * i] = left
end
return out
"""
#: A lost Redis is tried again after this long; until then it costs no request anything.
_REST_S = 2.0


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


class RateLimiter:
    """`scale` multiplies every limit; 0 switches them off."""

    def __init__(self, redis: "Redis", scale: float = 1.0) -> None:
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._scale = scale
        self._resting_until = 0.0

    async def hit(self, rules: list[Rule], *, user: str | None, address: str) -> Verdict | None:
        """Count one request against all its rules; None when nothing counts (switched off, or Redis is away)."""
        if not self._scale or time.monotonic() < self._resting_until:
            return None
        callers = [address if rule.per == "address" or user is None else user for rule in rules]
        keys = [f"vb:rate:{rule.name}:{caller}" for rule, caller in zip(rules, callers, strict=True)]
        try:
            answer = await cast(
                "Awaitable[list[Any]]", self._script(keys=keys, args=[rule.window_s * 1000 for rule in rules])
            )
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("rate_limits_rest", error=str(error))
            self._resting_until = time.monotonic() + _REST_S
            return None
        return min(self._verdicts(rules, answer), key=lambda v: (v.allowed, v.remaining / v.limit))

    def _verdicts(self, rules: list[Rule], answer: list[Any]) -> list[Verdict]:
        found = []
        for index, rule in enumerate(rules):
            count, left_ms = int(answer[2 * index]), int(answer[2 * index + 1])
            limit = max(1, round(rule.limit * self._scale))
            found.append(Verdict(rule.name, limit, max(0, limit - count), -(-left_ms // 1000), count <= limit))
        return found

    async def ping(self) -> bool:
        try:
            return bool(await self._redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        await self._redis.aclose()
