"""`python -m benchmarks`: all of them, one after the other, in one table. The figures of one run belong together."""

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from benchmarks.results import Report, save, show

#: Each is a module of that name, imported when it is its turn: who asks for one does not wait for all.
ALL: Final = (
    "machine", "ingest", "fleet_ingest", "telemetry", "ledger", "price", "codecs", "certificates", "history", "connect",
    "cost", "stations", "rental_rate", "rentals",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(ALL)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a minute in all, to see that everything runs")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in ALL]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    reports, failed = _run_all(given.names or ALL, quick=given.quick)
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
            found = _measure(name, quick=quick)
        except Exception:  # noqa: BLE001  # shown, and counted at the end
            traceback.print_exc()
            failed.append(name)
            continue
        for report in found:
            save(report)
        reports += found
    return reports, failed


def _measure(name: str, *, quick: bool) -> list[Report]:
    """Some have several reports (`measure`), most one (`run`)."""
    module = import_module(f"benchmarks.{name}")
    found: list[Report] = module.measure(quick=quick) if hasattr(module, "measure") else [module.run(quick=quick)]
    return found


if __name__ == "__main__":
    sys.exit(main())
