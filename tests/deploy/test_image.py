"""What the Dockerfile says about what the tree holds."""

import re
import tomllib
from fnmatch import fnmatch

from tests.deploy.compose import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
ALLOWED = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def test_the_image_runs_as_a_user_of_its_own() -> None:
    assert re.findall(r"^USER (\S+)$", LAST_STAGE, re.MULTILINE) == ["10001:10001"]
    assert LAST_STAGE.index("USER") < LAST_STAGE.index("ENTRYPOINT")
    assert 'ENTRYPOINT ["voltbay"]' in LAST_STAGE


def test_the_build_context_is_a_list_of_what_is_needed() -> None:
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= set(ALLOWED)
    for kept_out in (".env", ".git", ".venv", ".voltbay", "tests", "deploy/secrets/cabinets"):
        assert not any(fnmatch(kept_out, pattern) or kept_out.startswith(f"{pattern}/") for pattern in ALLOWED)


def test_copied_files_exist_and_are_in_the_context() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    for source in (source for copy in copies for source in copy.split()[:-1] if source != "."):
        assert (ROOT / source).exists()
        assert source in ALLOWED


def test_dependencies_are_locked_and_without_development_tools() -> None:
    assert DOCKERFILE.count("--require-hashes") == 2
    assert re.findall(r"--extra (\S+)", DOCKERFILE) == ["monitoring"]
