"""What the worker does with a task that outlives the connection it came by."""

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kombu import Connection, Queue
from kombu.message import Message
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from workers import redis_transport
from workers.app import app

log = logging.getLogger(__name__)


@pytest.fixture
def taken(redis_url: str) -> tuple[Message, tuple[type[BaseException], ...]]:
    """A message that was taken over a connection that is closed by now."""
    redis_transport.install()
    with Connection(redis_url) as connection:
        queue = Queue("outlived", routing_key="outlived")
        with connection.Producer() as producer:
            producer.publish({"event": 1}, routing_key="outlived", declare=[queue], serializer="json")
        with connection.channel() as channel:
            message = queue(channel).get()
            assert isinstance(message, Message)
            errors = connection.connection_errors + connection.channel_errors
    return message, errors


def test_an_acknowledgement_after_the_connection_is_an_error_that_celery_knows(
    taken: tuple[Message, tuple[type[BaseException], ...]],
) -> None:
    message, errors = taken
    with pytest.raises(RedisConnectionError, match="was closed") as caught:
        message.ack()
    assert isinstance(caught.value, errors)


def test_the_worker_goes_on_after_such_an_acknowledgement(
    taken: tuple[Message, tuple[type[BaseException], ...]], caplog: pytest.LogCaptureFixture
) -> None:
    message, errors = taken
    message.ack_log_error(log, errors)
    message.reject_log_error(log, errors)
    assert "Couldn't ack" in caplog.text


def test_what_was_not_acknowledged_is_not_lost(
    taken: tuple[Message, tuple[type[BaseException], ...]], redis_url: str
) -> None:
    message, _ = taken
    with Redis.from_url(redis_url) as client:
        assert client.hexists("unacked", str(message.delivery_tag))


def test_a_subscription_that_was_cut_is_an_error_and_waits_for_nothing(redis_url: str) -> None:
    """The loop that reads it takes the tasks as well: were it to wait there, the worker would take none ever again."""
    redis_transport.install()
    options = app.conf.broker_transport_options
    with (
        Connection(redis_url, transport_options=options) as connection,
        connection.channel() as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        redis: Any = channel
        subscribed = redis.subclient
        subscribed.psubscribe("nobody-speaks-here")
        subscribed.parse_response()
        host, port = subscribed.connection._sock.getsockname()
        with Redis.from_url(redis_url) as other:
            other.client_kill(f"{host}:{port}")
        reading = pool.submit(redis._receive_one, subscribed)
        try:
            with pytest.raises(connection.connection_errors):
                reading.result(20)
        finally:
            subscribed.connection.disconnect()


def test_a_redis_that_is_gone_without_a_word_is_noticed_in_half_a_minute(redis_url: str) -> None:
    """The kernel sees to it, and says here that it does."""
    redis_transport.install()
    options = app.conf.broker_transport_options
    with Connection(redis_url, transport_options=options) as connection, connection.channel() as channel:
        redis: Any = channel
        redis.client.ping()
        line = redis.client.connection_pool.get_connection()._sock
        idle, interval, count, user_ms = (
            line.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        )
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert idle + interval * count <= 30
    assert 0 < user_ms <= 30_000
