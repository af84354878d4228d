"""`python -m cli.after URL COMMAND…`: become COMMAND once URL answers 200.

The simulated cabinets start this way: one that calls before anybody listens only waits for its next try. Standard
library alone, so that waiting costs nothing while the others start.
"""

import os
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

_POLL_S = 0.2


def main(url: str, command: list[str]) -> None:
    while not _answers(url):
        time.sleep(_POLL_S)
    os.execv(command[0], command)  # noqa: S606  # this process becomes that one, signals and all


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2):  # noqa: S310  # our own API's address
            return True
    except (URLError, OSError):  # an answer of 503 is a URLError, too
        return False


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
