from cli.embedded.home import Home
from cli.embedded.ports import LOOPBACK
from cli.running import RunState
from cli.seed import OPERATOR_EMAIL, RIDER_EMAIL

_MOST_CODES = 8


def banner(state: RunState, home: Home) -> str:
    """The line that says it is up, and below it where everything is."""
    codes = ", ".join(state.stations[:_MOST_CODES]) or "none"
    if len(state.stations) > _MOST_CODES:
        codes += f" … {state.stations[-1]} ({len(state.stations)})"
    rows = {
        "API docs": f"{state.url}/api/docs",
        "inbox": f"{state.url}/sandbox/inbox (one-time codes)",
        "rider": f"{RIDER_EMAIL}, code in the inbox",
        "operator": f"{OPERATOR_EMAIL}, code in the inbox",
        "stations": codes,
        "cabinets": f"{state.device_mqtt_url} (user name = station code)",
        "with proof": _proven(state),
        "Relink": _relink(state),
        "simulators": state.control_url or "not running",
        "logs": str(home.logs),
    }
    told = (f"  {name:<11}{value}" for name, value in rows.items() if value)
    return "\n".join([f"voltbay is up: {state.url}", *told])


def _proven(state: RunState) -> str:
    """Where cabinets go that have a credential, as in production."""
    certificate = state.environment.get("VOLTBAY_CABINET_TLS_URL")
    secret = state.environment.get("VOLTBAY_CABINET_SECRET_URL")
    if not certificate or not secret:
        return ""
    return f"{certificate} (certificate), {' or '.join(filter(None, (secret, state.sealed_mqtt_url)))} (secret)"


def _relink(state: RunState) -> str:
    port = state.environment.get("VOLTBAY_RELINK_PORT")
    return f"tcp://{LOOPBACK}:{port}" if port else ""
