"""`python -m benchmarks.responder`: the least that could answer cabinets that connect, as a yardstick.

One paho client that decodes what they say, welcomes each and acknowledges the first inventory of each: no database,
nothing remembered, nobody told. Says `ready`, and one line of JSON when every cabinet has shown its slots.
"""

import argparse
import json
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firmware_protocol.commands import Ack, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import Booted, Inventory
from firmware_protocol.topics import ALL_UP


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.responder", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cabinets", type=int, required=True)
    given = parser.parse_args()
    shown: set[str] = set()
    client = Client(CallbackAPIVersion.VERSION2, client_id="responder", protocol=MQTTProtocolVersion.MQTTv5)
    used = 0.0

    def on_connect(*_: Any) -> None:
        client.subscribe(ALL_UP, 1)

    def on_subscribe(*_: Any) -> None:
        nonlocal used
        used = time.process_time()
        print("ready", flush=True)

    def on_message(_client: Client, _userdata: Any, message: MQTTMessage) -> None:
        frame = NATIVE.decode(message.topic, bytes(message.payload))
        told = frame.message
        if isinstance(told, Booted):
            now_ms = round(time.time() * 1000)
            answer = NATIVE.encode_control(
                frame.station, Welcome(epoch=told.epoch, server_ms=now_ms, heartbeat_s=30, telemetry_s=60)
            )
        elif isinstance(told, Inventory) and frame.station not in shown:
            shown.add(frame.station)
            answer = NATIVE.encode_control(frame.station, Ack(boot=frame.boot, through=frame.seq))
        else:
            return
        client.publish(answer.topic, answer.payload, answer.qos)
        if len(shown) == given.cabinets:
            print(json.dumps({"cpu_s": time.process_time() - used}), flush=True)
            client.disconnect()

    client.on_subscribe = on_subscribe
    client.on_message = on_message
    client.on_connect = on_connect
    client.connect("127.0.0.1", given.port)
    client.loop_forever()


if __name__ == "__main__":
    main()
