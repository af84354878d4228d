"""`python -m simulators.measure --stations 1000`: what a simulated fleet costs, on this machine, now.

Starts a Mosquitto of its own, a responder that welcomes and acknowledges, and the simulator as a process; prints JSON.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import psutil
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion

from firmware_protocol.commands import Ack, Control, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import Booted, Stream
from firmware_protocol.topics import ALL_UP

HEARTBEAT_S = 30
TELEMETRY_S = 60


class Cost(Struct, kw_only=True):
    """Memory is resident, CPU in percent of one core over the settled fleet."""

    stations: int
    connects_per_s_asked: float
    all_welcomed_s: float
    process_rss_mib: float
    cpu_percent: float
    frames_per_s: float
    broker_cpu_percent: float


class Responder:
    """The least that keeps a fleet content."""

    def __init__(self, port: int) -> None:
        self.frames = 0
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe(ALL_UP, qos=1)
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        if not self._subscribed.wait(10):
            raise TimeoutError("the broker does not answer")

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.frames += 1
        frame = NATIVE.decode(message.topic, bytes(message.payload))
        if isinstance(frame.message, Booted):
            now_ms = time.time_ns() // 1_000_000
            self._say(
                frame.station,
                Welcome(epoch=frame.message.epoch, server_ms=now_ms, heartbeat_s=HEARTBEAT_S, telemetry_s=TELEMETRY_S),
            )
        elif frame.message.stream is Stream.EVENT:
            self._say(frame.station, Ack(boot=frame.boot, through=frame.seq))

    def _say(self, station: str, control: Control) -> None:
        sent = NATIVE.encode_control(station, control)
        self.client.publish(sent.topic, sent.payload, sent.qos)


@contextmanager
def broker(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A Mosquitto for this measurement alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nlog_type error\n")
    with subprocess.Popen(["mosquitto", "-c", str(config)]) as process:
        try:
            time.sleep(0.5)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def measure(stations: int, connects_per_s: float, settled_s: float, *, state: bool) -> Cost:
    """Raises OSError when mosquitto is not installed."""
    with tempfile.TemporaryDirectory() as name, broker(Path(name)) as (port, broker_process):
        responder = Responder(port)
        arguments = ["--stations", str(stations), "--connects-per-s", str(connects_per_s)]
        if state:
            arguments += ["--state", name]
        command = [sys.executable, "-m", "simulators", "--mqtt", f"mqtt://127.0.0.1:{port}", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                ready_s = _ready_after(process)
                used = _settled(psutil.Process(process.pid), broker_process, responder, settled_s)
                return Cost(
                    stations=stations, connects_per_s_asked=connects_per_s, all_welcomed_s=ready_s, **_rounded(used)
                )
            finally:
                process.terminate()
                process.wait(30)
                responder.client.loop_stop()


def _ready_after(process: "subprocess.Popen[str]") -> float:
    if process.stdout is None:
        raise ValueError("the process was started without a pipe")
    for line in process.stdout:
        if line.startswith("simulators ready"):
            return float(line.split(" in ")[1].split(" s")[0])
    raise RuntimeError("the simulator ended before it was ready")


def _settled(
    simulator: psutil.Process, broker_process: psutil.Process, responder: Responder, settled_s: float
) -> dict[str, float]:
    simulator.cpu_percent()
    broker_process.cpu_percent()
    frames = responder.frames
    time.sleep(settled_s)
    return {
        "process_rss_mib": simulator.memory_info().rss / 2**20,
        "cpu_percent": simulator.cpu_percent(),
        "frames_per_s": (responder.frames - frames) / settled_s,
        "broker_cpu_percent": broker_process.cpu_percent(),
    }


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulators.measure", description=__doc__)
    parser.add_argument("--stations", type=int, default=1000)
    parser.add_argument("--connects-per-s", type=float, default=200.0)
    parser.add_argument("--settled-s", type=float, default=30.0, help="time over which CPU is measured")
    parser.add_argument("--state", action="store_true", help="with a state file")
    given = parser.parse_args()
    cost = measure(given.stations, given.connects_per_s, given.settled_s, state=given.state)
    print(msgspec.json.encode(cost).decode())  # noqa: T201  # a command's output


if __name__ == "__main__":
    main()
