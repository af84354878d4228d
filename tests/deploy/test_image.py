"""What the Dockerfile says about what the tree holds."""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

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
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in each or "--build-constraints requirements.lock" in each for each in installs)
    assert re.findall(r"--extra (\S+)", DOCKERFILE) == ["monitoring"]


#: Imported if it happens to be there, and done without otherwise: attrs by rich, for printing.
LOOKED_FOR = {"attr"}
#: What the image's processes import, the queue's transport included, which is loaded by its address only.
_IMPORTS = """
import sys
from importlib import import_module
before = set(sys.modules)
import api.main, cli.main, device_gateway.main, simulators.main, workers.app, workers.relay
import flower.command, kombu.transport.redis
for command in cli.main.Voltbay.lazy.values():
    import_module(command.module)
workers.app.app.loader.import_default_modules()
print(*(set(sys.modules) - before))
"""


def test_the_processes_import_only_what_the_image_installs() -> None:
    """Development tools bring packages along that something else may come to rely on."""
    done = subprocess.run([sys.executable, "-c", _IMPORTS], cwd=ROOT, check=True, capture_output=True, text=True)
    imported = {name.partition(".")[0] for name in done.stdout.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = _closure([*project["dependencies"], *project["optional-dependencies"]["monitoring"]])
    providers = packages_distributions()
    strangers = {
        name for name in imported & providers.keys() if not installed & {canonical(dist) for dist in providers[name]}
    }
    assert strangers <= LOOKED_FOR


def _closure(lines: list[str]) -> set[str]:
    """The packages that installing these requirements brings along."""
    done: set[tuple[str, str]] = set()
    todo = _wanted(lines, "")
    while todo:
        package, extra = todo.pop()
        if (package, extra) not in done:
            done.add((package, extra))
            todo += _wanted(requires(package) or [], extra)
    return {package for package, _ in done}


def _wanted(lines: list[str], extra: str) -> list[tuple[str, str]]:
    """Package and extra, once for each extra that is asked for and once without."""
    requirements = [Requirement(line) for line in lines]
    return [
        (canonical(each.name), each_extra)
        for each in requirements
        if each.marker is None or each.marker.evaluate({"extra": extra})
        for each_extra in ("", *each.extras)
    ]
