"""What the pages name is there: other pages, tests, modules, and the commands with their options."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main

from cli.main import app

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "mosquitto/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE: Final = re.compile(r"```[a-z]*\n(.*?)```", re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_TEST: Final = re.compile(r"([\w/]+/test_\w+\.py)(?:::(\w+))?")
_MODULE: Final = re.compile(r"python -m ([\w.]+)")
_COMMAND: Final = re.compile(r"(?:^|[\s/])voltbay ([a-z].*)")
#: Where a command line ends: a comment, a pipe, the next command, what stands in brackets.
_REST: Final = re.compile(r"\s#|[|;>)…]|&&")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", text_of(page))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


@pages
def test_tests_and_modules_that_are_named_are_there(page: Path) -> None:
    text = text_of(page)
    for name, test in _TEST.findall(text):
        found = ROOT / "tests" / name.removeprefix("tests/")
        assert found.exists(), name
        assert not test or f"def {test}(" in text_of(found), f"{name}::{test}"
    for module in _MODULE.findall(text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def command_lines(text: str) -> Iterator[str]:
    for code in (*_FENCE.findall(text), *_SPAN.findall(_FENCE.sub("", text))):
        for line in code.replace("\\\n", " ").splitlines():
            if (found := _COMMAND.search(line)) is not None:
                yield _REST.split(found[1])[0]


def command_of(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The command that these words begin with, and the words that are left."""
    found: Any = typer.main.get_command(app)
    left = list(words)
    while left and left[0] in getattr(found, "commands", ()):
        found = found.commands[left.pop(0)]
    return found, left


@pages
def test_commands_exist_with_their_options(page: Path) -> None:
    for line in command_lines(text_of(page)):
        command, left = command_of(line.split())
        assert not hasattr(command, "commands") or not left, f"no such command: voltbay {line}"
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        asked = {word.strip("[],.").partition("=")[0] for word in left if word.startswith(("--", "[--"))}
        assert asked - options - {"--", "--help"} == set(), f"voltbay {line}"


def test_a_page_that_errs_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "page.md"
    for text, look in (
        ("[a](nowhere.md)", test_links_lead_somewhere),
        ("[a](#nowhere)", test_links_lead_somewhere),
        ("`e2e/test_races.py::test_nothing`", test_tests_and_modules_that_are_named_are_there),
        ("`python -m benchmarks.nothing`", test_tests_and_modules_that_are_named_are_there),
        ("`voltbay stations dance VB-0001`", test_commands_exist_with_their_options),
        ("```sh\nvoltbay stations list --dance\n```", test_commands_exist_with_their_options),
    ):
        wrong.write_text(text, encoding="utf-8")
        with pytest.raises(AssertionError):
            look(wrong)
