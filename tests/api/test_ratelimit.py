import asyncio
import time
from pathlib import Path
from uuid import uuid4

from redis.asyncio import Redis

from api.ratelimit import RateLimiter, Rule, Verdict
from cli.embedded.home import Home
from cli.embedded.redis import EmbeddedRedis

ADDRESS = "192.0.2.1"


def hits(redis_url: str, times: int, rules: list[Rule], *, user: str | None, scale: float = 1.0) -> list[Verdict]:
    async def run() -> list[Verdict]:
        limiter = RateLimiter(Redis.from_url(redis_url), scale)
        found = [await limiter.hit(rules, user=user, address=ADDRESS) for _ in range(times)]
        await limiter.close()
        return [verdict for verdict in found if verdict is not None]

    return asyncio.run(run())


def fresh(limit: int, window_s: int = 60, per: str = "user") -> Rule:
    return Rule(f"test-{uuid4().hex}", limit, window_s, per)


def test_allows_up_to_the_limit_and_says_how_much_is_left(redis_url: str) -> None:
    verdicts = hits(redis_url, 5, [fresh(3)], user="ada")
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert all(0 < verdict.reset_s <= 60 for verdict in verdicts)


def test_users_behind_one_address_do_not_share_a_counter(redis_url: str) -> None:
    rule = fresh(2)
    assert hits(redis_url, 3, [rule], user="ada")[-1].allowed is False
    assert hits(redis_url, 1, [rule], user="bob")[0].allowed is True
    # Nobody signed in: the address counts.
    assert hits(redis_url, 1, [rule], user=None)[0].remaining == 1


def test_address_rule_counts_all_users_of_the_address(redis_url: str) -> None:
    rule = fresh(2, per="address")
    hits(redis_url, 2, [rule], user="ada")
    assert hits(redis_url, 1, [rule], user="bob")[0].allowed is False


def test_routes_have_counters_of_their_own_and_the_tightest_is_told(redis_url: str) -> None:
    wide, narrow = fresh(100), fresh(2)
    verdict = hits(redis_url, 2, [wide, narrow], user="ada")[-1]
    assert (verdict.rule, verdict.limit, verdict.remaining) == (narrow.name, 2, 0)
    assert hits(redis_url, 1, [wide], user="ada")[0].remaining == 97


def test_window_ends(redis_url: str) -> None:
    rule = fresh(1, window_s=1)
    assert [v.allowed for v in hits(redis_url, 2, [rule], user="ada")] == [True, False]
    time.sleep(1.1)  # the window is Redis's clock
    assert hits(redis_url, 1, [rule], user="ada")[0].allowed


def test_scale_widens_and_zero_switches_off(redis_url: str) -> None:
    assert hits(redis_url, 1, [fresh(3)], user="ada", scale=10)[0].limit == 30
    assert hits(redis_url, 5, [fresh(1)], user="ada", scale=0) == []


def test_lost_redis_lets_requests_pass_quickly_and_is_found_again(tmp_path: Path) -> None:
    service = EmbeddedRedis(Home(tmp_path / "home"))
    service.start()
    rule = fresh(1)

    async def run() -> None:
        limiter = RateLimiter(Redis.from_url(service.url, socket_timeout=0.25, socket_connect_timeout=0.25))
        assert await limiter.hit([rule], user="ada", address=ADDRESS) is not None
        service.kill()
        began = time.monotonic()
        for _ in range(200):
            assert await limiter.hit([rule], user="ada", address=ADDRESS) is None
        assert time.monotonic() - began < 2
        assert not await limiter.ping()
        service.start()
        async with asyncio.timeout(10):
            while await limiter.hit([rule], user="ada", address=ADDRESS) is None:  # noqa: ASYNC110  # Redis starts
                await asyncio.sleep(0.1)
        await limiter.close()

    try:
        asyncio.run(run())
    finally:
        service.stop()
