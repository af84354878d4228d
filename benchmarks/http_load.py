"""`python -m benchmarks.http_load`: a process that asks a server as fast as it answers, over a few connections."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from statistics import median

from benchmarks.http_client import Connection, request
from benchmarks.results import percentile


async def _ask(port: int, requests: Sequence[bytes], offset: int, ends: float, times: list[float]) -> int:
    connection = await Connection.open(port)
    bytes_, index = 0, offset
    while time.monotonic() < ends:
        began = time.perf_counter()
        answer = await connection.ask(requests[index % len(requests)])
        times.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.body[:300]!r}")
        bytes_ += len(answer.body)
        index += 1
    connection.close()
    return bytes_


async def load(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> dict[str, float]:
    times: list[float] = []
    began = time.monotonic()
    sizes = await asyncio.gather(*[_ask(port, requests, index, began + seconds, times) for index in range(connections)])
    took = time.monotonic() - began
    return {
        "per_s": len(times) / took,
        "p50_ms": median(times) * 1000,
        "p99_ms": percentile(times, 0.99) * 1000,
        "bytes": sum(sizes) / len(times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    requests = [request("GET", path) for path in json.loads(sys.stdin.read())]
    print(json.dumps(asyncio.run(load(given.port, requests, given.connections, given.seconds))))


if __name__ == "__main__":
    main()
