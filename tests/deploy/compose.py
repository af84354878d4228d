"""docker-compose.yml and its overlays as data."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
#: $${…} is for the shell in the container, not for compose.
_VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>[A-Za-z_]+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Variable:
    """One `${NAME…}`: `required` is :?, otherwise `default` says what stands there when it is not set."""

    name: str
    required: bool
    default: str | None


@cache
def text(file: str = "docker-compose.yml") -> str:
    return (ROOT / file).read_text()


@cache
def services() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(text())
    return loaded["services"]


def top_level(section: str) -> dict[str, Any]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text())
    return loaded[section]


def ours() -> dict[str, dict[str, Any]]:
    """The services that run our own image."""
    return {name: service for name, service in services().items() if "VOLTBAY_IMAGE" in service["image"]}


def variables(file: str = "docker-compose.yml") -> list[Variable]:
    without_comments = re.sub(r"^\s*#.*$", "", text(file), flags=re.MULTILINE)
    return [
        Variable(match["name"], match["kind"] == "?", match["rest"] if match["kind"] == "-" else None)
        for match in _VARIABLE.finditer(without_comments)
    ]
