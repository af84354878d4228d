"""Every check in its order, and what became of each."""

from collections.abc import Callable, Iterator
from typing import Final

from firmware_protocol.messages import SampleMessage
from simulators.conformance import connecting, ejecting, keeping, orders, unseen
from simulators.conformance.bench import Bench, Patience
from simulators.conformance.checks import Check
from simulators.conformance.verdicts import (
    MOST_EVIDENCE,
    BrokenRequirement,
    CabinetSilent,
    Line,
    NotRunHere,
    UnsupportedByCabinet,
    Verdict,
)
from simulators.conformance.wire import Wire

CHECKS: Final[tuple[Check, ...]] = (
    *connecting.FIRST,
    *connecting.SETTLED,
    *orders.ORDERS,
    *keeping.KEEPING,
    *connecting.RESTART,
    *ejecting.EJECTS,
    *keeping.ALWAYS,
)
QUICK: Final = Patience(withhold_s=3, silence_s=1)


def run(
    mqtt_url: str,
    code: str,
    *,
    alone: bool,
    ejects: bool = False,
    patience: Patience | None = None,
    told: Callable[[Line], None] = lambda _line: None,
) -> list[Line]:
    """Every requirement against the cabinet of this code. OSError when the broker is not there or refuses.

    `alone`: no other backend answers on this broker, so that welcomes and acknowledgements can be withheld.
    `told` hears of each as it is decided.
    """
    with Wire(mqtt_url, code) as wire:
        bench = Bench(wire, patience or Patience(), alone=alone, ejects=ejects)
        lines = []
        for line in _decide(bench):
            told(line)
            lines.append(line)
        return lines + unseen.lines()


def _decide(bench: Bench) -> Iterator[Line]:
    silent = False
    for check in CHECKS:
        if silent:
            yield _line(check, Verdict.NOT_RUN, "nothing was heard of the cabinet", ())
            continue
        since = bench.mark
        try:
            check.run(bench)
        except CabinetSilent as error:
            silent = True
            yield _line(check, Verdict.FAILED, str(error), _evidence(bench, since))
        except BrokenRequirement as error:
            yield _line(check, Verdict.FAILED, str(error), _evidence(bench, since))
        except UnsupportedByCabinet as error:
            yield _line(check, Verdict.UNSUPPORTED, str(error), _evidence(bench, since))
        except NotRunHere as error:
            yield _line(check, Verdict.NOT_RUN, str(error), ())
        else:
            yield _line(check, Verdict.PASSED, "", _evidence(bench, since))


def _line(check: Check, verdict: Verdict, why: str, evidence: tuple[str, ...]) -> Line:
    return Line(requirement=check.requirement, title=check.title, verdict=verdict, why=why, evidence=evidence)


def _evidence(bench: Bench, since: int) -> tuple[str, ...]:
    """What passed meanwhile; samples only where nothing else did: they come whatever is asked."""
    row = bench.wire.row[since:]
    told = [each for each in row if each.frame is None or not isinstance(each.frame.message, SampleMessage)]
    return tuple(each.shown() for each in (told or row)[-MOST_EVIDENCE:])
