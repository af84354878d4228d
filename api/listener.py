"""The one LISTEN connection of an API process: PostgreSQL's notifications, read on the event loop, go to the hub."""

import asyncio
import random
from contextlib import suppress

import psycopg2
import structlog
from psycopg2.extensions import connection as Connection  # noqa: N812  # it is a class

from api.hub import Hub
from fleet.common.notify import Channel, listening

log = structlog.get_logger(__name__)

CHANNELS = {channel.value: channel for channel in (Channel.RENTAL, Channel.STATION, Channel.CONFIG)}
#: A dead peer is noticed after about this long even when the network says nothing.
PROBE_EVERY_S = 15.0
RETRY_MAX_S = 5.0


class Listener:
    """`run()` until cancelled. While disconnected the hub's waiters poll."""

    def __init__(self, database_url: str, hub: Hub) -> None:
        self._url = database_url
        self._hub = hub

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                connection = await asyncio.to_thread(listening, self._url, "voltbay-api-listen", CHANNELS.values())
            except psycopg2.Error as error:
                failures += 1
                log.warning("listen_failed", error=str(error).strip())
                await asyncio.sleep(random.uniform(0.1, min(0.2 * 2 ** min(failures, 8), RETRY_MAX_S)))  # noqa: S311
                continue
            failures = 0
            try:
                await self._serve(connection)
            except psycopg2.Error as error:
                log.warning("listen_lost", error=str(error).strip())
            finally:
                self._hub.listening = False
                with suppress(psycopg2.Error):
                    connection.close()

    async def _serve(self, connection: Connection) -> None:
        """Deliver until the connection fails, which raises psycopg2.Error."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = connection.fileno()
        loop.add_reader(descriptor, readable.set)
        try:
            self._hub.listening = True
            self._hub.wake_all()  # whatever was notified while nobody listened
            while True:
                try:
                    async with asyncio.timeout(PROBE_EVERY_S):
                        await readable.wait()
                except TimeoutError:
                    await asyncio.to_thread(_probe, connection)
                readable.clear()
                connection.poll()
                while connection.notifies:
                    notification = connection.notifies.pop(0)
                    channel = CHANNELS.get(notification.channel)
                    if channel is not None:
                        self._hub.notified(channel, notification.payload)
        finally:
            loop.remove_reader(descriptor)


def _probe(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
