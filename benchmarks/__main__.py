"""`python -m benchmarks`: all of them, one after the other, in one table. The figures of one run belong together."""

import argparse
import sys
from collections.abc import Callable

from benchmarks import (
    certificates,
    codecs,
    connect,
    cost,
    fleet_ingest,
    history,
    ingest,
    ledger,
    machine,
    price,
    rental_rate,
    rentals,
    stations,
    telemetry,
)
from benchmarks.results import Report, save, show

ALL: dict[str, Callable[[bool], list[Report]]] = {
    "machine": lambda quick: [machine.run(quick=quick)],
    "ingest": lambda quick: [ingest.run(quick=quick)],
    "fleet_ingest": lambda quick: [fleet_ingest.run(quick=quick)],
    "telemetry": lambda quick: [telemetry.run(quick=quick)],
    "ledger": lambda quick: [ledger.run(quick=quick)],
    "price": lambda quick: [price.run(quick=quick)],
    "codecs": lambda quick: [codecs.run(quick=quick)],
    "certificates": lambda quick: [certificates.run(quick=quick)],
    "history": lambda quick: [history.run(quick=quick)],
    "connect": lambda quick: [connect.run(quick=quick)],
    "cost": lambda quick: [cost.run(quick=quick)],
    "stations": lambda quick: [stations.run(quick=quick)],
    "rental_rate": lambda quick: [rental_rate.run(quick=quick)],
    "rentals": lambda quick: rentals.measure(quick=quick),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ALL)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a minute in all, to see that everything runs")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in ALL]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    reports: list[Report] = []
    for name in given.names or list(ALL):
        print(f"{name} …", file=sys.stderr, flush=True)
        found = ALL[name](given.quick)
        for report in found:
            save(report)
        reports += found
    show(reports)
    return 0 if given.quick or all(report.met for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
