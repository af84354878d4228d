"""`make mutants`: break one rule at a time in a copy of the tree, and see that a test notices.

Each `*.patch` here says in its first lines what it breaks and which tests must catch it. Exit code 1: one survived or
no longer applies, or the tests fail without any.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Final, Self

from cli.embedded.home import Home
from cli.embedded.postgres import EmbeddedPostgres
from tests.databases import DatabaseServer

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parents[1]
#: For one mutant's tests, and for all of them without a mutant.
TIMEOUT_S: Final = 300
ALL_TIMEOUT_S: Final = 1800
#: pytest's exit codes: tests ran and passed; some failed.
_PASSED, _FAILED = 0, 1
_CAUGHT_BY: Final = "Caught by: "
#: A patch to one of these has databases of its own.
_SCHEMA: Final = "+++ b/migrations/"
_URL, _TEMPLATE = "VOLTBAY_TEST_DATABASE_URL", "VOLTBAY_TEST_TEMPLATE"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`breaks`: the rule, in words; `tests`: what pytest is given."""

    path: Path
    breaks: str
    tests: str

    @classmethod
    def read(cls, path: Path) -> Self:
        breaks, caught, *_ = path.read_text().splitlines()
        if not caught.startswith(_CAUGHT_BY):
            raise ValueError(f"{path.name}: the second line says by which tests it is caught")
        return cls(path, breaks, caught.removeprefix(_CAUGHT_BY))

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def changes_the_schema(self) -> bool:
        return _SCHEMA in self.path.read_text()


def mutants() -> list[Mutant]:
    return [Mutant.read(path) for path in sorted(FOLDER.glob("*.patch"))]


def apply(mutant: Mutant, tree: Path, *options: str) -> bool:
    """False when the patch does not fit the tree."""
    command = ["git", "apply", *options, str(mutant.path)]
    return subprocess.run(command, cwd=tree, capture_output=True, check=False).returncode == 0


def copy_tree(to: Path) -> None:
    """What git knows of, and what is new: without environments, caches and data."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (to / ".venv").symlink_to(ROOT / ".venv")


@contextmanager
def migrated() -> Iterator[dict[str, str]]:
    """A PostgreSQL for all of them, with a database to copy: the environment that names both.

    Starting one, and migrating it, takes longer than most of the tests.
    """
    with _server() as url:
        server = DatabaseServer(url)
        yield {_URL: server.url, _TEMPLATE: server.template()}
        server.close()


@contextmanager
def _server() -> Iterator[str]:
    given = os.environ.get(_URL)
    if given:
        yield given
        return
    with TemporaryDirectory(prefix="voltbay-test-", ignore_cleanup_errors=True) as home:
        postgres = EmbeddedPostgres(Home(Path(home)), fsync=False)
        postgres.start()
        try:
            yield postgres.url
        finally:
            postgres.stop()


def verdict(mutant: Mutant, tree: Path, services: Mapping[str, str]) -> tuple[bool, str]:
    """Whether it was caught, and by what."""
    if not apply(mutant, tree):
        return False, "no longer applies"
    try:
        run = _pytest(mutant.tests.split(), tree, {} if mutant.changes_the_schema else services)
    finally:
        apply(mutant, tree, "--reverse")
    if run.returncode == _PASSED:
        return False, f"survived {mutant.tests}"
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    if run.returncode != _FAILED or not failed:
        return False, f"pytest ended with {run.returncode}: {run.stdout[-500:]}{run.stderr[-500:]}"
    return True, failed[0].removeprefix("FAILED ").split(" - ")[0]


def _pytest(
    tests: Iterable[str], tree: Path, services: Mapping[str, str], timeout_s: int = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, **services}
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, -1, "", f"not done in {timeout_s} s")


def run(chosen: Sequence[Mutant], workers: int) -> int:
    """Prints a line for each; how many were not caught."""
    trees: SimpleQueue[Path] = SimpleQueue()
    missed = 0
    with TemporaryDirectory(prefix="voltbay-mutants-") as name:
        folder = Path(name)
        for number in range(workers):
            copy_tree(folder / str(number))
            trees.put(folder / str(number))
        with migrated() as services, ThreadPoolExecutor(workers) as pool:
            for line, caught in pool.map(lambda mutant: _judge(mutant, trees, services), chosen):
                missed += not caught
                print(line, flush=True)
            sound = _sound(chosen, folder / "0", services)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return missed + (not sound)


def _judge(mutant: Mutant, trees: "SimpleQueue[Path]", services: Mapping[str, str]) -> tuple[str, bool]:
    tree, began = trees.get(), monotonic()
    try:
        caught, how = verdict(mutant, tree, services)
    finally:
        trees.put(tree)
    word = "caught" if caught else "MISSED"
    return f"{word}  {mutant.name}: {mutant.breaks} ({monotonic() - began:.0f} s)\n        {how}", caught


def _sound(chosen: Sequence[Mutant], tree: Path, services: Mapping[str, str]) -> bool:
    """All these tests pass without a patch: else a failure would say nothing."""
    tests = sorted({test for mutant in chosen for test in mutant.tests.split()})
    run = _pytest(tests, tree, services, ALL_TIMEOUT_S)
    if run.returncode != _PASSED:
        print(f"the tests fail without any patch:\n{run.stdout[-2000:]}{run.stderr[-500:]}")
    return run.returncode == _PASSED


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("names", nargs="*", help="these only")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    chosen = [each for each in mutants() if not options.names or each.name in options.names]
    if not chosen or len(chosen) < len(options.names):
        parser.error("no such mutant")
    return 1 if run(chosen, options.workers) else 0


if __name__ == "__main__":
    sys.exit(main())
