"""Who said what when, seen from outside: PostgreSQL's notifications and the broker's messages, with our own clock."""

import select
import threading
import time
from collections import defaultdict
from typing import Any, Self

import psycopg2
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from fleet.common.notify import Channel

#: Instants by (channel, payload).
Seen = dict[tuple[str, str], list[float]]
COMMAND = "down/command"
EVENT = "up/event"


class Observers:
    """Records from `with` to its end; instants are of `time.monotonic`."""

    def __init__(self, database_url: str, mqtt_port: int) -> None:
        self.seen: Seen = defaultdict(list)
        self._ended = threading.Event()
        self._database = psycopg2.connect(database_url)
        self._database.autocommit = True
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", mqtt_port)
        for what in (COMMAND, EVENT):
            self._client.subscribe(f"vb/v1/+/{what}", 0)

    def __enter__(self) -> Self:
        with self._database.cursor() as cursor:
            for channel in (Channel.DEVICE_COMMAND, Channel.RENTAL):
                cursor.execute(f'LISTEN "{channel.value}"')
        self._listener.start()
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.join()
        self._client.loop_stop()
        self._client.disconnect()
        self._database.close()

    def first_after(self, channel: str, payload: str, instant: float) -> float | None:
        return next((at for at in self.seen.get((channel, payload), ()) if at >= instant), None)

    def _listen(self) -> None:
        while not self._ended.is_set():
            if select.select([self._database], [], [], 0.2)[0]:
                self._database.poll()
                now = time.monotonic()
                while self._database.notifies:
                    each = self._database.notifies.pop(0)
                    self.seen[each.channel, each.payload].append(now)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        del client, userdata
        _, _, station, direction, kind = message.topic.split("/")
        self.seen[f"{direction}/{kind}", station].append(time.monotonic())
