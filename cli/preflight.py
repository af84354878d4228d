"""What is known to go wrong before anything is started."""

from cli.embedded.home import Home
from cli.embedded.ports import problem_of
from cli.probes import problems
from cli.running import find_running
from fleet.settings import Settings


class CannotStart(Exception):
    """Something that was asked for is not to be had; the message is meant for the terminal."""


def refuse_what_cannot_work(settings: Settings, home: Home) -> None:
    """Raises CannotStart when the port that was asked for, or a service whose address was given, is not to be had.

    Where a system of this home runs, the port is its own, and the lock of the home says more.
    """
    if "http_port" in settings.model_fields_set and find_running(home) is None:
        problem = problem_of(settings.http_port, settings.http_host)
        if problem is not None:
            raise CannotStart(f"port {settings.http_port} (VOLTBAY_HTTP_PORT) {problem}")
    found = list(problems(settings))
    if found:
        raise CannotStart("\n".join(found))
