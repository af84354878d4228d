"""The simulator process: a fleet, its control API, and an orderly end on SIGTERM and Ctrl-C."""

import asyncio
import contextlib
import resource
import signal
import sys
import time
from typing import Final

from firmware_protocol.errors import ProtocolError
from simulators.control import serve_control
from simulators.errors import SimulatorError
from simulators.fleet import SimulatedFleet
from simulators.options import SimulatorOptions

#: Descriptors that the process needs besides one per cabinet.
_SPARE_FILES: Final = 200


def run(options: SimulatorOptions) -> int:
    """Simulate until SIGTERM or Ctrl-C; returns the exit status. Progress goes to stdout, failures to stderr."""
    try:
        asyncio.run(simulate(options))
    except (SimulatorError, ProtocolError, OSError, ValueError) as error:
        print(f"simulators: {error}", file=sys.stderr, flush=True)  # noqa: T201  # a command's output
        return 1
    return 0


async def simulate(options: SimulatorOptions) -> None:
    """As `run`, on a loop of the caller's own. Raises what makes it impossible."""
    spec = options.fleet()
    _allow_files(len(spec.stations) + _SPARE_FILES)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    started = time.monotonic()
    fleet = SimulatedFleet(
        spec,
        options.mqtt_url,
        tuning=options.tuning(),
        state=options.state,
        connects_per_s=options.connects_per_s,
        http_url=options.http_url,
        relink=options.relink_address(),
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(fleet)
        where = "no control API"
        if options.control_port is not None:
            port = await stack.enter_async_context(serve_control(fleet, options.control_port))
            where = f"control http://127.0.0.1:{port}"
        _say(f"simulators: {len(fleet)} stations starting, {where}")
        if await _first(stop, fleet):
            seconds = time.monotonic() - started
            _say(f"simulators ready: {len(fleet)} stations welcomed in {seconds:.1f} s, {where}")
        await stop.wait()
        _say("simulators: stopping")


async def _first(stop: asyncio.Event, fleet: SimulatedFleet) -> bool:
    """True when the whole fleet was welcomed before somebody said stop."""
    stopped = asyncio.create_task(stop.wait())
    ready = asyncio.create_task(fleet.wait_welcomed(timeout_s=10**9))
    try:
        await asyncio.wait({stopped, ready}, return_when=asyncio.FIRST_COMPLETED)
        return ready.done()
    finally:
        stopped.cancel()
        ready.cancel()


def _allow_files(needed: int) -> None:
    """Raise this process's own limit of open files up to what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ValueError(f"{needed} open files are needed and the limit is {hard}: raise `ulimit -n`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a command's output
