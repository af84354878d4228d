"""Operators only. Each part is a file; reads ask for `CurrentOperator`, acts for `ActsDep`, which also audits."""

from api.admin import (
    cases,
    commands,
    config,
    credentials,
    dead_letters,
    money,
    rentals,
    stations,
    telemetry,
    users,
)

ROUTERS = tuple(
    part.router
    for part in (
        stations,
        commands,
        credentials,
        telemetry,
        rentals,
        cases,
        dead_letters,
        users,
        money,
        config,
    )
)
