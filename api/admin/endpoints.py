"""Operators only. Each part is a file; reads ask for `CurrentOperator`, acts for `ActsDep`, which also audits."""

from api.admin import (
    alerts,
    banks,
    cabinets,
    cases,
    commands,
    config,
    credentials,
    dead_letters,
    device_config,
    device_logs,
    exports,
    firmware,
    histories,
    money,
    presence,
    rentals,
    stations,
    telemetry,
    users,
)

ROUTERS = tuple(
    part.router
    for part in (
        stations,
        cabinets,
        commands,
        credentials,
        presence,
        telemetry,
        banks,
        histories,
        exports,
        alerts,
        device_config,
        device_logs,
        firmware,
        rentals,
        cases,
        dead_letters,
        users,
        money,
        config,
    )
)
