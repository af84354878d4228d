"""`python -m simulators`: the simulator without the rest of Voltbay."""

import argparse
import sys
from pathlib import Path

from simulators.fleet import CONNECTS_PER_S
from simulators.main import run
from simulators.options import DEFAULT_MQTT_URL, SimulatorOptions
from simulators.spec import Kind
from simulators.tuning import Wire


def milliseconds(text: str) -> tuple[int, int]:
    """`300` or `300-1200`."""
    low, _, high = text.partition("-")
    span = int(low), int(high or low)
    if not 0 <= span[0] <= span[1]:
        raise ValueError(text)
    return span


def parse(arguments: list[str]) -> SimulatorOptions:
    """Options of the command line; exits with 2 when they make no sense."""
    default = SimulatorOptions()
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    parser.add_argument("--stations", type=int, default=default.stations, help="cabinets VB-0001… (%(default)s)")
    parser.add_argument("--mqtt", default=DEFAULT_MQTT_URL, help="broker, mqtt:// or mqtts:// (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="same seed, same fleet (%(default)s)")
    parser.add_argument("--control-port", type=int, default=0, help="control API on 127.0.0.1; 0: any free port")
    parser.add_argument("--state", type=Path, help="folder that carries the cabinets over a restart")
    parser.add_argument("--encoding", type=Wire, choices=list(Wire), default=default.encoding)
    parser.add_argument("--eject-ms", type=milliseconds, default=default.eject_ms, help="300 or 300-1200")
    parser.add_argument("--telemetry-s", type=float, help="instead of what the backend asks for")
    parser.add_argument("--heartbeat-s", type=float, help="instead of what the backend asks for")
    parser.add_argument("--codes-file", type=Path, help=".json fleet, or one station code a line")
    parser.add_argument("--kind", type=Kind, choices=list(Kind), default=default.kind, help="of cabinets (%(default)s)")
    parser.add_argument("--http-url", help="base of the HTTP calls that vendors' cabinets make, http://host:port")
    parser.add_argument("--relink", help="host:port that Relink cabinets connect to")
    parser.add_argument("--connects-per-s", type=float, default=CONNECTS_PER_S)
    parser.add_argument("--firmware-root", type=Path, help="root of trust from the factory: cabinets take updates")
    given = parser.parse_args(arguments)
    return SimulatorOptions(
        stations=given.stations,
        mqtt_url=given.mqtt,
        seed=given.seed,
        control_port=given.control_port,
        state=given.state,
        encoding=given.encoding,
        eject_ms=given.eject_ms,
        telemetry_s=given.telemetry_s,
        heartbeat_s=given.heartbeat_s,
        codes_file=given.codes_file,
        connects_per_s=given.connects_per_s,
        firmware_root=given.firmware_root,
        kind=given.kind,
        http_url=given.http_url,
        relink=given.relink,
    )


if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:])))
