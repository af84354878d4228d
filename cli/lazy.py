"""Commands whose modules are imported when they are asked for: `voltbay decode` needs no database, `migrate` no API."""

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Lazy:
    """`module`'s `attribute` is a command's function, or a group of commands (`typer.Typer`)."""

    module: str
    attribute: str = "app"
    #: What `typer.Typer.command` is told about a function.
    options: Mapping[str, Any] = field(default_factory=dict)


class LazyGroup(TyperGroup):
    """A group that knows the names of its commands, and each command once it is needed. `--help` needs them all."""

    #: By name, in the order in which they are shown.
    lazy: ClassVar[Mapping[str, Lazy]]

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(self.lazy)


class _Commands(UserDict[str, Any]):
    """Each an entry of the table until it is asked for, then a command."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, Lazy):
            found = self[name] = _load(name, found)
        return found


def _load(name: str, entry: Lazy) -> Any:
    """The command that Typer would have made, had it been told of it at once."""
    found = getattr(import_module(entry.module), entry.attribute)
    parent = typer.Typer(add_completion=False, callback=_nothing)  # with a callback, one command is a group too
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        parent.command(name, **entry.options)(found)
    group = typer.main.get_command(parent)
    assert isinstance(group, TyperGroup)
    return group.commands[name]


def _nothing() -> None:
    """A group's own work: none."""
