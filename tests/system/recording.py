"""Every frame that cabinets sent, to be played again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from device_gateway.received import Received
from firmware_protocol.topics import ALL_UP


@contextmanager
def recorder(mqtt_url: str) -> Iterator[list[Received]]:
    """Frames of all cabinets as they come, with the backend's own rights, beside the gateways."""
    frames: list[Received] = []
    address, subscribed = urlsplit(mqtt_url), Event()

    def note(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        content_type = getattr(message.properties, "ContentType", None)
        payload = bytes(message.payload)
        frames.append(Received(message.topic, payload, content_type, message.qos, len(frames) + 1, 1, time.time()))

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="recorder", protocol=mqtt.MQTTv5)
    client.username_pw_set(address.username, address.password)
    client.on_connect = lambda connected, *_: connected.subscribe(ALL_UP, qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = note
    client.connect(address.hostname or "127.0.0.1", address.port or 1883)
    client.loop_start()
    try:
        assert subscribed.wait(10)
        yield frames
    finally:
        client.disconnect()
        client.loop_stop()
