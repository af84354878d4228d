"""The same seed gives the same run, byte for byte."""

from random import Random

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.dialect import Published
from simulators.faults import Fault, FaultKind
from simulators.spec import default_fleet
from simulators.tuning import Tuning, Wire
from tests.simulators.virtual import Bench


def play(seed: int) -> list[list[Published]]:
    """A day with faults, returns and power cuts, in virtual time."""
    hours = Random(99)
    frames = []
    for station in default_fleet(3, seed).stations:
        bench = Bench(Tuning(encoding=Wire.MIXED), seed=seed, station=station)
        bench.ready(heartbeat_s=300, telemetry_s=900)
        bench.cabinet.add_fault(Fault(kind=FaultKind.WRONG_BANK, probability=0.3), bench.now_ms)
        bench.cabinet.add_fault(Fault(kind=FaultKind.REORDER, probability=0.5), bench.now_ms)
        bench.cabinet.add_fault(Fault(kind=FaultKind.GARBAGE, probability=0.1), bench.now_ms)
        for number in range(1, 25):
            bench.run(hours.randint(600_000, 3_600_000))
            if bench.occupied:
                bench.command(EjectPowerBank(slot=bench.occupied[0][0]), number=number)
            for bank in list(bench.hands)[1:]:
                bench.cabinet.insert(bench.hands.give_back(bank.serial or "", bench.now_ms), None, bench.now_ms)
            if number % 8 == 0:
                bench.cabinet.restart(bench.now_ms)
                bench.run(60_000)
                bench.welcome(heartbeat_s=300, telemetry_s=900)
        frames.append(bench.raw)
    return frames


def test_two_runs_of_one_seed_are_identical() -> None:
    first, second = play(7), play(7)
    assert sum(map(len, first)) > 1000
    assert first == second


def test_another_seed_is_another_run() -> None:
    assert play(7) != play(8)


def test_a_smaller_fleet_is_the_beginning_of_a_larger_one() -> None:
    assert default_fleet(200, 3).stations[:20] == default_fleet(20, 3).stations
