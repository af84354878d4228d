"""A home in memory for the services of a test process.

A test's own database is a thousand small files, made and deleted again. ext4 gives no inode away that was in use in the
last minutes, and for each new file looks at all of those: in a run of all tests a copy of the template cost 0.7 s of
processor time where it costs 0.04 s in memory (docs/decisions/0300).
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from cli.embedded.errors import HomeInUse
from cli.embedded.home import Home

SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "voltbay-test-"
#: Several times what two test processes with all their services take.
_NEEDED_BYTES = 2 * 1024**3
#: Whoever makes a folder has locked it by then.
_YOUNG_S = 60.0


@contextmanager
def service_home(memory: Path = SHARED_MEMORY) -> Iterator[Home]:
    """A locked home that is gone afterwards: in memory where there is plenty of it, else where others are."""
    where = memory if _has_room(memory) else None
    if where is not None:
        remove_forsaken(where)
    with TemporaryDirectory(prefix=_PREFIX, dir=where, ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder))
        home.lock()
        yield home
        home.unlock()


def remove_forsaken(where: Path) -> None:
    """Delete the homes of test processes that were killed: nobody holds their locks."""
    for folder in where.glob(f"{_PREFIX}*/"):
        home = Home(folder)
        try:
            if time.time() - folder.stat().st_mtime < _YOUNG_S:
                continue
            home.lock()
        except (HomeInUse, OSError):  # in use, or somebody else was quicker, or it is somebody else's
            continue
        shutil.rmtree(folder, ignore_errors=True)
        home.unlock()


def _has_room(memory: Path) -> bool:
    """Of a small one, as containers have by default, nothing is taken."""
    if not memory.is_dir():
        return False
    free = min(shutil.disk_usage(memory).free, psutil.virtual_memory().available)
    return free >= _NEEDED_BYTES
