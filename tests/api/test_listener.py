import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Engine

from api.hub import Hub
from api.listener import Listener
from fleet.common.notify import Channel, notify
from fleet.db import session_scope
from tests.databases import Database


def say(engine: Engine, channel: Channel, payload: str) -> None:
    with session_scope(engine) as session:
        notify(session, channel, payload)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # a state of another thread's making
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(database: Database) -> AsyncIterator[Hub]:
    hub = Hub()
    task = asyncio.create_task(Listener(database.url, hub).run())
    try:
        await until(lambda: hub.listening)
        yield hub
    finally:
        task.cancel()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def test_notification_reaches_only_its_subscribers(clean_database: Database) -> None:
    async def scenario() -> None:
        async with listening(clean_database) as hub:
            with hub.subscribe(Channel.RENTAL, "a", "b") as mine, hub.subscribe(Channel.STATION, "a") as other:
                began = time.monotonic()
                await asyncio.to_thread(say, clean_database.engine, Channel.RENTAL, "b")
                assert await mine.wait(5) == {"b"}
                assert time.monotonic() - began < 1
                assert await other.wait(0.05) == set()
            assert hub.waiting == 0

    run(scenario)


def test_connection_lost_wakes_everybody_and_is_made_again(clean_database: Database) -> None:
    async def scenario() -> None:
        async with listening(clean_database) as hub:
            with hub.subscribe(Channel.RENTAL, "a") as mine:
                await asyncio.to_thread(cut, clean_database.engine)
                # Woken without a payload as soon as listening goes on: something may have been missed.
                began = time.monotonic()
                assert await mine.wait(8) == set()
                assert time.monotonic() - began < 8
                await until(lambda: hub.listening)
                await asyncio.to_thread(say, clean_database.engine, Channel.RENTAL, "a")
                assert await mine.wait(5) == {"a"}

    run(scenario)


def test_rolled_back_change_notifies_nobody(clean_database: Database) -> None:
    def undone() -> None:
        connection = clean_database.engine.raw_connection()
        connection.cursor().execute("SELECT pg_notify('vb_rental', 'a')")
        connection.rollback()
        connection.close()

    async def scenario() -> None:
        async with listening(clean_database) as hub:
            with hub.subscribe(Channel.RENTAL, "a") as mine:
                await asyncio.to_thread(undone)
                assert await mine.wait(0.2) == set()

    run(scenario)


def test_closing_hub_ends_waits_now_and_later() -> None:
    async def scenario() -> None:
        hub = Hub()
        hub.attach(asyncio.get_running_loop())
        with hub.subscribe(Channel.RENTAL, "a") as mine:
            waiting = asyncio.create_task(mine.wait(30))
            await asyncio.sleep(0)
            await asyncio.to_thread(hub.close_soon)
            async with asyncio.timeout(1):
                await waiting
            assert mine.closed
        with hub.subscribe(Channel.RENTAL, "b") as late:
            assert late.closed

    run(scenario)


def cut(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'voltbay-api-listen' AND datname = current_database()"
        )
