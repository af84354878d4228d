"""`python -m benchmarks.publisher`: a process that publishes a stream as fast as it can.

Every packet is made before the clock starts; what is left is `send` and counting the broker's answers. It says `ready`,
waits for a line on standard input, publishes, waits for the last PUBACK and prints one line of JSON with the instants
(of the monotonic clock, which all processes of a machine share).
"""

import argparse
import json
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks import stream, telemetry_stream, wire

_CHUNK: Final = 100
_MIDS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Published:
    messages: int
    started: float
    finished: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.messages / (self.finished - self.started)


def _chunks(kind: str, stations: int, first_seq: int, rounds: int) -> list[bytes]:
    found = stream.events(stations, first_seq, rounds)
    if kind == "telemetry":
        found = ((topic, payload) for topic, payload, _ in telemetry_stream.samples(stations, first_seq, rounds))
    encoded = [wire.publish(topic, payload, index % _MIDS + 1) for index, (topic, payload) in enumerate(found)]
    return [b"".join(encoded[at : at + _CHUNK]) for at in range(0, len(encoded), _CHUNK)]


def _publish(sock: socket.socket, chunks: Sequence[bytes], total: int, window: int) -> None:
    """Send with at most `window` messages that the broker has not answered."""
    sock.setblocking(False)
    answered, sent, at, view = 0, 0, 0, memoryview(b"")
    while answered < total * wire.PUBACK_BYTES:
        may_send = bool(view) or (at < len(chunks) and sent - answered // wire.PUBACK_BYTES + _CHUNK <= window)
        readable, writable, _ = select.select([sock], [sock] if may_send else [], [])
        if readable:
            data = sock.recv(1 << 16)
            if not data:
                raise ConnectionError("the broker closed the connection")
            answered += len(data)
        if writable:
            if not view:
                view, at, sent = memoryview(chunks[at]), at + 1, min(total, sent + _CHUNK)
            view = view[sock.send(view) :]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publisher", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", choices=["events", "telemetry"], default="events")
    parser.add_argument("--stations", type=int, required=True)
    parser.add_argument("--first-seq", type=int, default=1)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--window", type=int, default=5000)
    given = parser.parse_args()
    total = given.stations * given.rounds
    chunks = _chunks(given.kind, given.stations, given.first_seq, given.rounds)
    sock = wire.open_client(given.port, f"publisher-{os.getpid()}")
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, started = time.process_time(), time.monotonic()
    _publish(sock, chunks, total, given.window)
    done = Published(total, started, time.monotonic(), time.process_time() - cpu)
    print(json.dumps(asdict(done)), flush=True)
    sock.close()


if __name__ == "__main__":
    main()
