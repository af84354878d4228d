"""The `voltbay` command. Each module holds one command, or one group of them."""

import typer

from cli import (
    alerts,
    banks,
    broker_sync,
    cases,
    dead_letters,
    decode,
    demo,
    demo_data,
    device_groups,
    device_upkeep,
    doctor,
    firmware,
    fixtures,
    fleet_views,
    jobs,
    ledger,
    migrate,
    operators,
    payments,
    processes,
    rollouts,
    secrets,
    simulate,
    stations,
    tools,
    up,
)

app = typer.Typer(
    name="voltbay",
    help="Open backend for fleets of power-bank charging cabinets.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they would show passwords
)
app.command()(up.up)
app.command()(demo.demo)
app.command()(simulate.simulate)
app.command()(doctor.doctor)
app.command(rich_help_panel="Processes")(broker_sync.broker_sync)
app.command()(decode.decode)
app.command()(migrate.migrate)
app.command()(fixtures.loaddata)
app.command()(demo_data.seed)
app.command()(operators.createsuperuser)
app.command()(jobs.jobs)
app.add_typer(alerts.app, name="alerts")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(firmware.app, name="firmware")
app.add_typer(ledger.app, name="ledger")
app.add_typer(payments.app, name="payments")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(device_upkeep.config, name="device-config")
app.add_typer(device_upkeep.logs, name="device-logs")
app.add_typer(device_groups.app, name="device-groups")
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(tools.psql)
app.command()(tools.shell)
app.command()(tools.openapi)
app.command()(tools.version)
app.add_typer(secrets.app, name="secrets")
app.add_typer(stations.app, name="stations")
app.add_typer(banks.app, name="banks")
app.add_typer(cases.app, name="cases")
app.add_typer(fleet_views.app, name="fleet")
processes.register(app)


if __name__ == "__main__":
    app()
