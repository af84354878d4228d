"""A cabinet's connection as the network sees it."""

import asyncio
import socket

from firmware_protocol.dialect import Published
from simulators.broker import Broker
from simulators.session import native_session
from simulators.spec import fleet_of


def test_an_event_behind_an_acknowledgement_does_not_wait_for_the_brokers_kernel() -> None:
    loop = asyncio.new_event_loop()
    try:
        with socket.create_server(("127.0.0.1", 0)) as broker:
            (station,) = fleet_of(["VB-1"]).stations
            session = native_session(
                loop, Broker(*broker.getsockname()), station, Published(topic="will", payload=b"", qos=1)
            )
            session.dial()
            dialled = session.client.socket()
            assert isinstance(dialled, socket.socket)
            assert dialled.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            dialled.close()
    finally:
        loop.close()
