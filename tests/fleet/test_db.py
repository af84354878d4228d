"""What every connection is given."""

import os
import socket

from sqlalchemy import Engine


def test_a_server_that_is_gone_without_a_word_is_noticed_in_half_a_minute(engine: Engine) -> None:
    """The kernel sees to it, and says here that it does."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        with socket.socket(fileno=os.dup(driver.fileno())) as line:
            told = {
                name: line.getsockopt(socket.IPPROTO_TCP, option)
                for name, option in (
                    ("idle", socket.TCP_KEEPIDLE),
                    ("interval", socket.TCP_KEEPINTVL),
                    ("count", socket.TCP_KEEPCNT),
                    ("user", socket.TCP_USER_TIMEOUT),
                )
            }
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert told["idle"] + told["interval"] * told["count"] <= 30
    assert 0 < told["user"] <= 30_000
