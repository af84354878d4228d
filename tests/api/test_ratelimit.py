import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from api.ratelimit import RateLimiter, Rule, Verdict
from cli.embedded.home import Home
from cli.embedded.redis import EmbeddedRedis

ADDRESS = "192.0.2.1"


class Process:
    """One API process's limiter, with a clock that tests move."""

    def __init__(self, redis_url: str, scale: float = 1.0) -> None:
        self.now = 1000.0
        redis = Redis.from_url(redis_url, socket_timeout=0.25, socket_connect_timeout=0.25)
        self.limiter = RateLimiter(redis, scale, clock=lambda: self.now)

    def hit(self, *rules: Rule, user: str | None = "ada") -> Verdict:
        verdict = self.limiter.hit(rules, user=user, address=ADDRESS)
        assert verdict is not None
        return verdict


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def fresh(limit: int, window_s: int = 60, per: str = "user") -> Rule:
    return Rule(f"test-{uuid4().hex}", limit, window_s, per)


def test_allows_up_to_the_limit_and_says_how_much_is_left(redis_url: str) -> None:
    process, rule = Process(redis_url), fresh(3)
    verdicts = [process.hit(rule) for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert {verdict.reset_s for verdict in verdicts} == {60}


def test_users_behind_one_address_do_not_share_a_counter(redis_url: str) -> None:
    process, rule = Process(redis_url), fresh(2)
    assert [process.hit(rule).allowed for _ in range(3)] == [True, True, False]
    assert process.hit(rule, user="bob").allowed
    # Nobody signed in: the address counts.
    assert process.hit(rule, user=None).remaining == 1


def test_address_rule_counts_all_users_of_the_address(redis_url: str) -> None:
    process, rule = Process(redis_url), fresh(2, per="address")
    process.hit(rule)
    process.hit(rule)
    assert not process.hit(rule, user="bob").allowed


def test_routes_have_counters_of_their_own_and_the_tightest_is_told(redis_url: str) -> None:
    process, wide, narrow = Process(redis_url), fresh(100), fresh(2)
    process.hit(wide, narrow)
    verdict = process.hit(wide, narrow)
    assert (verdict.rule, verdict.limit, verdict.remaining) == (narrow.name, 2, 0)
    assert process.hit(wide).remaining == 97


def test_window_ends(redis_url: str) -> None:
    process, rule = Process(redis_url), fresh(1, window_s=30)
    assert [process.hit(rule).allowed for _ in range(2)] == [True, False]
    process.now += 29
    assert (process.hit(rule).allowed, process.hit(rule).reset_s) == (False, 2)
    process.now += 1.01
    assert process.hit(rule).allowed


def test_scale_widens_and_zero_switches_off(redis_url: str) -> None:
    assert Process(redis_url, scale=10).hit(fresh(3)).limit == 30
    assert Process(redis_url, scale=0).limiter.hit([fresh(1)], user="ada", address=ADDRESS) is None


def test_processes_add_up(redis_url: str) -> None:
    async def scenario() -> None:
        one, two, rule = Process(redis_url), Process(redis_url), fresh(10)
        for _ in range(6):
            one.hit(rule)
        assert await one.limiter.share()
        # The other one does not know yet, and learns with its first word to Redis.
        assert two.hit(rule).remaining == 9
        assert await two.limiter.share()
        assert two.hit(rule).remaining == 2
        assert await two.limiter.share()
        assert await one.limiter.share()
        assert one.hit(rule).remaining == 3  # nothing untold, so nothing learned: its own six, and one more
        assert await one.limiter.share()
        assert one.hit(rule).remaining == 0
        await one.limiter.close()
        await two.limiter.close()

    run(scenario)


def test_many_callers_are_shared_in_batches(redis_url: str) -> None:
    async def scenario() -> None:
        one, two, rule = Process(redis_url), Process(redis_url), fresh(5)
        for number in range(1200):
            one.hit(rule, user=f"user-{number}")
        assert await one.limiter.share()
        for number in (0, 700, 1199):
            two.hit(rule, user=f"user-{number}")
        assert await two.limiter.share()
        assert [two.hit(rule, user=f"user-{number}").remaining for number in (0, 700, 1199)] == [2, 2, 2]
        await one.limiter.close()
        await two.limiter.close()

    run(scenario)


def test_what_ended_is_forgotten(redis_url: str) -> None:
    async def scenario() -> None:
        process, rule = Process(redis_url), fresh(5, window_s=30)
        for number in range(100):
            process.hit(rule, user=f"user-{number}")
        assert await process.limiter.share()
        process.now += 100
        assert await process.limiter.share()
        assert process.limiter._windows == {}
        await process.limiter.close()

    run(scenario)


def test_lost_redis_stops_nothing_and_is_found_again(tmp_path: Path) -> None:
    service = EmbeddedRedis(Home(tmp_path / "home"))
    service.start()

    async def scenario() -> None:
        process, rule = Process(service.url), fresh(1000)
        process.hit(rule)
        assert await process.limiter.share()
        service.kill()
        began = time.monotonic()
        for _ in range(200):
            assert process.hit(rule).allowed
        assert not await process.limiter.share()
        assert not await process.limiter.ping()
        assert time.monotonic() - began < 2
        service.start()
        assert await process.limiter.share()
        # Whatever Redis remembers of before, everything of this process is in.
        assert process.hit(rule).remaining <= 1000 - 201
        await process.limiter.close()

    try:
        run(scenario)
    finally:
        service.stop()
