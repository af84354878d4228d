"""Connections that hear what the database notifies."""

from typing import Any

from sqlalchemy import Engine

from fleet.common.notify import Channel


def listen(engine: Engine, channel: Channel) -> Any:
    """A driver's connection in autocommit that hears `channel`. Out of the engine's pool: it lives as long as the
    thread that asks for it, and is closed by it.
    """
    connection = engine.raw_connection()
    driver: Any = connection.driver_connection
    connection.detach()
    driver.set_session(autocommit=True)
    with driver.cursor() as cursor:
        cursor.execute(f"LISTEN {channel.value}")
    return driver
