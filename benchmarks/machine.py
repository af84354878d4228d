"""`python -m benchmarks.machine`: what this machine can do at most, measured beside the rest in the same run."""

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median

from sqlalchemy import text

from benchmarks.results import Report, machine, save, show
from benchmarks.services import Services, services

_WAL_BLOCK = 8192


def fsyncs_per_s(folder: Path, seconds: float) -> float:
    """Writes of 8 KiB to one place, each followed by fdatasync: what a commit waits for."""
    block, count = os.urandom(_WAL_BLOCK), 0
    descriptor = os.open(folder / "fsync", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(descriptor, block, 0)
        os.fsync(descriptor)
        ends = (began := time.perf_counter()) + seconds
        while time.perf_counter() < ends:
            os.pwrite(descriptor, block, 0)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


def commits_per_s(running: Services, seconds: float) -> float:
    """Transactions of one small INSERT over one connection."""
    connection = running.engine.raw_connection()
    try:
        cursor, count = connection.cursor(), 0
        cursor.execute("CREATE TABLE bench_commit (id int, what text)")
        connection.commit()
        ends = (began := time.perf_counter()) + seconds
        while time.perf_counter() < ends:
            cursor.execute("INSERT INTO bench_commit VALUES (%s, 'something')", (count,))
            connection.commit()
            count += 1
        took = time.perf_counter() - began
        cursor.execute("DROP TABLE bench_commit")
        connection.commit()
    finally:
        connection.close()
    return count / took


def round_trip_ms(running: Services) -> float:
    """SELECT 1 over the driver."""
    times = []
    with running.engine.connect() as connection:
        for _ in range(300):
            began = time.perf_counter()
            connection.execute(text("SELECT 1"))
            times.append(time.perf_counter() - began)
    return median(times) * 1000


def python_loops_per_s() -> float:
    """Additions in a loop of one interpreter, in millions: how fast a core is, and how busy."""
    began, total = time.perf_counter(), 0
    for number in range(3_000_000):
        total += number
    return 3.0 / (time.perf_counter() - began)


def run(*, quick: bool) -> Report:
    seconds = 0.3 if quick else 3.0
    found = machine()
    report = Report("machine", "limits of this machine", quick)
    load = f"{found['cores']} cores, {found['processor']}, {found['memory_gib']} GiB; load before the run"
    report.add("load average", found["load_before"], "", note=load)
    report.add("Python, one core", python_loops_per_s(), "M additions/s")
    with services() as running:
        report.add("write and fdatasync of 8 KiB", fsyncs_per_s(running.home.root, seconds), "/s")
        report.add("PostgreSQL, commits over one connection", commits_per_s(running, seconds), "/s")
        report.add("PostgreSQL, SELECT 1", round_trip_ms(running), "ms")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.machine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
