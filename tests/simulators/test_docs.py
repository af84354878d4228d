"""docs/simulators.md says what is so."""

import re
from pathlib import Path

from simulators.__main__ import parse
from simulators.faults import FaultKind
from tests.simulators.backend import MiniBackend

TEXT = (Path(__file__).parents[2] / "docs" / "simulators.md").read_text(encoding="utf-8")


def test_the_example_runs_as_printed(mqtt_url: str, device_mqtt_url: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    with MiniBackend(mqtt_url):
        exec(compile(example, "simulators.md", "exec"), {"device_mqtt_url": device_mqtt_url})  # our own text


def test_every_fault_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", TEXT.split("## Faults")[1].split("## In tests")[0], re.MULTILINE)
    assert sorted(described) == sorted(FaultKind)


def test_every_option_of_the_table_exists() -> None:
    given = {
        "--stations": "7",
        "--mqtt": "mqtt://h:1",
        "--seed": "2",
        "--state": "d",
        "--encoding": "mixed",
        "--eject-ms": "300-1200",
        "--heartbeat-s": "1",
        "--telemetry-s": "2",
        "--connects-per-s": "9",
        "--control-port": "5",
    }
    options = parse([word for pair in given.items() for word in pair])
    assert (options.stations, options.seed, options.eject_ms, options.control_port) == (7, 2, (300, 1200), 5)
    for name in re.findall(r"^\| `(--[a-z-]+)", TEXT, re.MULTILINE):
        assert hasattr(options, {"--mqtt": "mqtt_url"}.get(name, name[2:].replace("-", "_")))
