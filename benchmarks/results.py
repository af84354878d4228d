"""What a benchmark found: figures with their targets, as a table for people and as JSON for machines."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. With `target` it is a claim: `at_least` tells which side of the target is the good one."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None for a figure that claims nothing."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(slots=True)
class Report:
    """The outcome of one command."""

    benchmark: str
    what: str
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        target: float | None = None,
        at_least: bool = True,
        note: str = "",
    ) -> None:
        self.figures.append(Figure(name, value, unit, target, at_least, note))

    @property
    def met(self) -> bool:
        return all(figure.met is not False for figure in self.figures)


def show(reports: Sequence[Report]) -> None:
    """Print one table of all figures."""
    table = Table(title="Voltbay benchmarks" + (" (--quick: not for quoting)" if any(r.quick for r in reports) else ""))
    for heading, justify in (("benchmark", "left"), ("figure", "left"), ("value", "right"), ("target", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    table.add_column("")
    table.add_column("note", overflow="fold")
    for report in reports:
        for index, figure in enumerate(report.figures):
            table.add_row(
                report.benchmark if index == 0 else "",
                figure.name,
                f"{number(figure.value)} {figure.unit}".rstrip(),
                "" if figure.target is None else f"{'≥' if figure.at_least else '≤'} {number(figure.target)}",
                {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[figure.met],
                figure.note,
            )
        table.add_section()
    width = None if sys.stdout.isatty() else 170
    Console(width=width).print(table)


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def save(report: Report) -> Path:
    """Write the report beside this file; overwrites what an earlier run of the same benchmark left."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{report.benchmark}{'-quick' if report.quick else ''}.json"
    content = {
        **asdict(report),
        "figures": [{**asdict(figure), "met": figure.met} for figure in report.figures],
        "machine": machine(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
    return path


def machine() -> dict[str, Any]:
    """The machine, without its name."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def ratio_of_pairs(ours: Sequence[float], bare: Sequence[float]) -> float:
    """The median of the ratios of runs that were made one after the other: what drifts hits both of a pair."""
    return median(a / b for a, b in zip(ours, bare, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; `share` 0.99 is p99."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered) - 1e-9) - 1)]
