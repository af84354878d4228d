"""`python -m benchmarks.subscribers KIND`: a process that receives the stream and does nothing with it.

`paho` is the yardstick: paho's own loop, an `on_message` that counts, and paho's own acknowledgement. `sink`
reads the socket and answers in bulk: what the broker and the publisher can do. Says `ready`, and one line of JSON at
the end.
"""

import argparse
import json
import os
import socket
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from benchmarks import wire
from firmware_protocol.topics import ALL_UP, shared_subscription

#: As the gateway asks for by its default settings.
RECEIVE_MAXIMUM = 10_000


def _say(count: int, finished: float) -> None:
    print(json.dumps({"messages": count, "finished": finished, "cpu_s": time.process_time()}), flush=True)


def paho(port: int, total: int) -> None:
    """Receive and acknowledge with paho as everybody uses it."""
    received = 0

    def on_message(client: Client, userdata: Any, message: MQTTMessage) -> None:
        nonlocal received
        del userdata, message
        received += 1
        if received == total:
            _say(total, time.monotonic())
            client.disconnect()

    def on_connect(client: Client, *_: Any) -> None:
        client.subscribe([(shared_subscription("bare"), SubscribeOptions(qos=1))])

    client = Client(CallbackAPIVersion.VERSION2, client_id=f"paho-{os.getpid()}", protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = on_message
    client.on_connect = on_connect
    client.on_subscribe = lambda *_: print("ready", flush=True)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no annotation there
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    client.connect("127.0.0.1", port, properties=properties)
    client.loop_forever()


def sink(port: int, total: int) -> None:
    """Receive without paho: QoS 1, acknowledged once a read."""
    sock = wire.open_client(port, f"sink-{os.getpid()}")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.sendall(wire.subscribe(ALL_UP, 1))
    received = 0
    for found in wire.packets(sock):
        answers = []
        for kind, body in found:
            if kind == 0x90:  # SUBACK
                print("ready", flush=True)
            elif kind & 0xF0 == 0x30:
                topic_end = 2 + int.from_bytes(body[:2], "big")
                answers.append(b"\x40\x02" + bytes(body[topic_end : topic_end + 2]))
        sock.sendall(b"".join(answers))
        received += len(answers)
        if received >= total:
            _say(received, time.monotonic())
            return


def main() -> None:
    kinds = {"paho": paho, "sink": sink}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.subscribers", description=__doc__)
    parser.add_argument("kind", choices=sorted(kinds))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    given = parser.parse_args()
    kinds[given.kind](given.port, given.messages)


if __name__ == "__main__":
    main()
