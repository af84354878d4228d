"""Who the TCP listener takes, without a database."""

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from time import monotonic
from typing import Any

from prometheus_client import CollectorRegistry

from device_gateway.metrics import Metrics
from device_gateway.received import Received
from device_gateway.relink_listener import ACCEPT_AGAIN_S, RelinkListener
from firmware_protocol.dialects.relink.translate import place_of
from firmware_protocol.vendor import Admission
from fleet.common.networks import CabinetNetworks
from tests.device_gateway.cabinet import eventually


class Full(socket.socket):
    """Has no descriptor left at the first try."""

    tries: tuple[float, ...] = ()

    def accept(self) -> tuple[socket.socket, Any]:
        Full.tries = (*Full.tries, monotonic())
        if len(Full.tries) == 1:
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


@contextmanager
def running(listener: RelinkListener) -> Iterator[RelinkListener]:
    listener.start()
    try:
        yield listener
    finally:
        listener.stop(5)


def listener_for(
    networks: CabinetNetworks,
    registry: CollectorRegistry | None = None,
    deliver: Callable[[Received], None] = lambda _: None,
) -> RelinkListener:
    return RelinkListener(
        host="127.0.0.1",
        port=0,
        gateway="g",
        deliver=deliver,
        networks=networks,
        metrics=Metrics(registry or CollectorRegistry()),
    )


def test_who_comes_from_no_network_of_cabinets_is_cut() -> None:
    registry = CollectorRegistry()
    with running(listener_for(CabinetNetworks(production=True), registry)) as listener:
        with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as stranger:
            assert stranger.recv(1) == b""
        assert listener.is_alive()
    assert registry.get_sample_value("voltbay_gateway_relink_refused_total", {"reason": "network"}) == 1


def test_every_frame_is_counted_by_what_it_is() -> None:
    registry = CollectorRegistry()
    login = bytes.fromhex("002060018D112233445566778802330011") + b"RL1H000000000017\0"
    unknown = bytes.fromhex("0007FF010011223344")

    def count(command: str) -> float | None:
        labels = {"direction": "in", "command": command}
        return registry.get_sample_value("voltbay_gateway_relink_frames_total", labels)

    with running(listener_for(CabinetNetworks(), registry)) as listener:
        with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as cabinet:
            cabinet.sendall(login + unknown * 3 + b"\0\0")
            eventually(lambda: count("broken") == 1)
            assert (count("login"), count("other")) == (1, 3)
        eventually(lambda: registry.get_sample_value("voltbay_gateway_relink_connections") == 0)


def test_a_box_that_connects_again_is_counted_by_where_it_comes_from() -> None:
    registry = CollectorRegistry()
    login = bytes.fromhex("002060018D112233445566778802330011") + b"RL1H000000000017\0"

    def replaced(address: str) -> float:
        return registry.get_sample_value("voltbay_gateway_relink_replaced_total", {"address": address}) or 0

    arrived: list[Received] = []

    def topics() -> dict[int, str]:
        return {place_of(each.topic).connection: each.topic for each in arrived}

    def known(number: int) -> bool:
        return number in topics()

    with running(listener_for(CabinetNetworks(), registry, arrived.append)) as listener, ExitStack() as cabinets:
        for number, source in enumerate(("127.0.0.1", "127.0.0.1", "127.0.0.2"), 1):
            cabinet = socket.create_connection(("127.0.0.1", listener.port), timeout=10, source_address=(source, 0))
            cabinets.enter_context(cabinet).sendall(login)
            eventually(partial(known, number))
            topic = topics()[number]
            listener.publish(Admission(topic=topic, payload=login, qos=0, station_id=7, epoch=number, heartbeat=None))
            assert cabinet.recv(len(login), socket.MSG_WAITALL) == login
        eventually(lambda: (replaced("same"), replaced("other")) == (1, 1))


def test_a_connection_that_could_not_be_taken_is_taken_a_little_later() -> None:
    listener = listener_for(CabinetNetworks())
    listener._server = Full(fileno=listener._server.detach())
    listener._server.setblocking(False)
    with running(listener), socket.create_connection(("127.0.0.1", listener.port), timeout=10):
        eventually(lambda: len(listener._table) == 1)
    assert len(Full.tries) == 2
    assert Full.tries[1] - Full.tries[0] >= ACCEPT_AGAIN_S
