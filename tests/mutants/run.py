"""`make mutants`: break one rule at a time in a copy of the tree, and see that a test notices.

Each `*.patch` here says in its first lines what it breaks and which tests must catch it. Exit code 1: one survived, no
longer applies, or its tests fail without it.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Final, Self

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parents[1]
TIMEOUT_S: Final = 300
#: pytest's exit codes: tests ran and passed; some failed.
_PASSED, _FAILED = 0, 1
_CAUGHT_BY: Final = "Caught by: "


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


def verdict(mutant: Mutant, tree: Path) -> tuple[bool, str]:
    """Whether it was caught, and by what."""
    if not apply(mutant, tree):
        return False, "no longer applies"
    try:
        run = _pytest(mutant.tests, tree)
    finally:
        apply(mutant, tree, "--reverse")
    if run.returncode == _PASSED:
        return False, f"survived {mutant.tests}"
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    if run.returncode != _FAILED or not failed:
        return False, f"pytest ended with {run.returncode}: {run.stdout[-500:]}{run.stderr[-500:]}"
    return True, failed[0].removeprefix("FAILED ").split(" - ")[0]


def _pytest(tests: str, tree: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests.split()]
    try:
        return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, -1, "", f"not done in {TIMEOUT_S} s")


def run(chosen: Sequence[Mutant], workers: int) -> int:
    """Prints a line for each; how many were not caught."""
    trees: SimpleQueue[Path] = SimpleQueue()

    def one(mutant: Mutant) -> tuple[Mutant, bool, str]:
        tree = trees.get()
        try:
            return mutant, *verdict(mutant, tree)
        finally:
            trees.put(tree)

    missed = 0
    with TemporaryDirectory(prefix="voltbay-mutants-") as folder, ThreadPoolExecutor(workers) as pool:
        for number in range(workers):
            tree = Path(folder) / str(number)
            copy_tree(tree)
            trees.put(tree)
        for mutant, caught, how in pool.map(one, chosen):
            missed += not caught
            print(f"{'caught' if caught else 'MISSED'}  {mutant.name}: {mutant.breaks}\n        {how}", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("names", nargs="*", help="these only")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    chosen = [each for each in mutants() if not options.names or each.name in options.names]
    if not chosen or len(chosen) < len(options.names):
        parser.error("no such mutant")
    missed = run(chosen, options.workers)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
