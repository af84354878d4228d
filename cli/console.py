"""Where tables for people are printed."""

from typing import Final

from rich.console import Console

#: Wide enough for a pipe: what is cut off or folded is lost on whoever searches it.
_PIPE_WIDTH: Final = 200


def console() -> Console:
    """As wide as the terminal; a pipe, a log or a container without one gets whole lines."""
    found = Console()
    return found if found.is_terminal else Console(width=_PIPE_WIDTH)
