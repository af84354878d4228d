"""A bare MQTT client under a station's name: for frames that no cabinet would send."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


@contextmanager
def publisher(url: str, name: str, client_id: str | None = None) -> Iterator[mqtt.Client]:
    """Connected as `name`, or as the user that `url` names; the client id differs from the cabinet's own, so that both
    are connected at once.
    """
    address = urlsplit(url)
    connected = Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id or f"test-{name}", protocol=mqtt.MQTTv5)
    client.username_pw_set(address.username or name, address.password)
    client.on_connect = lambda *_: connected.set()
    client.connect(address.hostname or "127.0.0.1", address.port or 1883)
    client.loop_start()
    try:
        assert connected.wait(10), "the broker does not answer"
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
