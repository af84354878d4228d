"""`python -m benchmarks`: all of them, one after the other, in one table. The figures of one run belong together."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence

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
    reports, failed = _run_all(given.names or list(ALL), quick=given.quick)
    show(reports)
    if failed:
        print(f"no figures of {', '.join(failed)}: see the errors above", file=sys.stderr)
        return 1
    return 0 if given.quick or all(report.met for report in reports) else 1


def _run_all(names: Sequence[str], *, quick: bool) -> tuple[list[Report], list[str]]:
    """The reports, and the names of those that ended with an error: half an hour's other figures are kept."""
    reports: list[Report] = []
    failed: list[str] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            found = ALL[name](quick)
        except Exception:  # noqa: BLE001  # shown, and counted at the end
            traceback.print_exc()
            failed.append(name)
            continue
        for report in found:
            save(report)
        reports += found
    return reports, failed


if __name__ == "__main__":
    sys.exit(main())
