import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from cli.main import app
from fleet.settings import DEVELOPMENT_SECRET, Settings
from tests.deploy import compose

ONE_SHOT = {"broker-identity", "broker-secrets", "migrate", "seed"}
#: Variables with everybody's names, and the setting each becomes.
WELL_KNOWN = {"DATABASE_URL", "REDIS_URL", "MQTT_URL"}
#: Read by programs that are not ours, and by the options of `voltbay secrets broker`.
OF_OTHERS = {"FLOWER_BASIC_AUTH", "MQTT_GATEWAY_PASSWORD", "SIMULATED_STATIONS", "SIMULATOR_PASSWORD"}
ALL = sorted(compose.services())


@pytest.mark.parametrize("name", ALL)
def test_a_service_says_how_it_is_or_ends_by_itself(name: str) -> None:
    service = compose.services()[name]
    if name in ONE_SHOT:
        assert service["restart"] in {"no", "on-failure"}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize("name", ALL)
def test_a_service_is_confined(name: str) -> None:
    service = compose.services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", ALL)
def test_what_a_service_waits_for_can_happen(name: str) -> None:
    for other, wait in compose.services()[name].get("depends_on", {}).items():
        if wait["condition"] == "service_completed_successfully":
            assert other in ONE_SHOT
        else:
            assert other not in ONE_SHOT
            assert wait["condition"] in {"service_healthy", "service_started"}


def test_only_the_broker_for_hashed_passwords_runs_as_root() -> None:
    roots = [name for name, service in compose.services().items() if service.get("user") == "root"]
    assert roots == ["broker-secrets"]
    assert set(compose.services()["broker-secrets"]["cap_add"]) == {"CHOWN", "DAC_OVERRIDE"}
    assert compose.services()["broker-secrets"]["network_mode"] == "none"


def test_database_and_queue_are_not_reachable_from_outside() -> None:
    assert compose.top_level("networks")["data"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert compose.services()[name]["networks"] == ["data"]
        assert "ports" not in compose.services()[name]


def test_the_gateways_listener_is_never_published() -> None:
    published = [
        port.rpartition(":")[2] for service in compose.services().values() for port in service.get("ports", [])
    ]
    assert sorted(published) == ["1883", "5555", "8000"]


def test_who_lives_in_the_brokers_namespace_is_made_anew_with_it() -> None:
    """Compose leaves a container as it is whose own lines did not change, and its namespace is then gone for ever."""
    for file in ("docker-compose.yml", "docker-compose.prod.yml"):
        loaded = yaml.safe_load((compose.ROOT / file).read_text())["services"]
        broker, sync = loaded["mosquitto"], loaded["broker-sync"]
        parts = [
            broker.get("image", ""),
            *broker.get("ports", ()),
            *broker.get("ulimits", {}).get("nofile", {}).values(),
        ]
        made_of = set(re.findall(r"\$\{(\w+)", " ".join(parts)))
        assert made_of
        assert made_of <= set(re.findall(r"\$\{(\w+)", " ".join(sync["labels"].values())))
    assert compose.services()["mosquitto"]["image"] in compose.services()["broker-sync"]["labels"]["voltbay.broker"]


def test_no_secret_has_a_default() -> None:
    secret = [v for v in compose.variables() if any(word in v.name for word in ("PASSWORD", "SECRET", "KEY"))]
    secret = [v for v in secret if not v.name.endswith(("_URL", "_PORT"))]
    assert len({v.name for v in secret}) == 13
    for variable in secret:
        # Needed only with the simulators' profile, with Stripe, or with text messages.
        sometimes = {"SIMULATOR_PASSWORD", "VOLTBAY_STRIPE_API_KEY", "VOLTBAY_STRIPE_WEBHOOK_SECRET"}
        sometimes |= {"VOLTBAY_STRIPE_CONNECT_WEBHOOK_SECRET", "VOLTBAY_SMS_WEBHOOK_SECRET"}
        assert variable.required or (variable.name in sometimes and variable.default == ""), variable
    assert DEVELOPMENT_SECRET not in compose.text()


@pytest.mark.parametrize("name", sorted(compose.ours()))
def test_our_processes_are_told_only_what_they_understand(name: str) -> None:
    for variable in compose.ours()[name].get("environment", {}):
        if variable.startswith("VOLTBAY_"):
            assert variable.removeprefix("VOLTBAY_").lower() in Settings.model_fields
        else:
            assert variable in WELL_KNOWN | OF_OTHERS


@pytest.mark.parametrize("name", sorted(compose.ours()))
def test_our_services_run_commands_that_exist(name: str) -> None:
    service = compose.ours()[name]
    if "entrypoint" in service:
        assert service["entrypoint"][:3] == ["celery", "-A", "workers.app"]
        return
    command = typer.main.get_command(app)
    with command.make_context("voltbay", [], resilient_parsing=True) as context:
        assert isinstance(command, typer.core.TyperGroup)
        assert command.get_command(context, service["command"][0]) is not None


def test_mounted_files_exist() -> None:
    mounts = [volume for service in compose.services().values() for volume in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts]
    assert [source for source in sources if source.startswith("./") and not (compose.ROOT / source).exists()] == []
    named = {source for source in sources if not source.startswith("./")}
    assert named == set(compose.top_level("volumes"))


def test_the_example_environment_names_every_variable() -> None:
    example = (compose.ROOT / ".env.example").read_text()
    lines = {line.lstrip("# ").partition("=")[0] for line in example.splitlines() if "=" in line}
    assert {variable.name for variable in compose.variables()} - lines == set()
    assert DEVELOPMENT_SECRET not in example


def test_what_the_example_environment_offers_reaches_the_containers() -> None:
    example = (compose.ROOT / ".env.example").read_text()
    for_containers, apart, _ = example.partition("# Outside containers")
    assert apart
    offered = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", for_containers, re.MULTILINE))
    overlays = [*compose.variables("docker-compose.prod.yml"), *compose.variables("docker-compose.relink.yml")]
    assert len(offered) > 60
    assert offered - {variable.name for variable in (*compose.variables(), *overlays)} == set()


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_itself_accepts_the_files(tmp_path: Path) -> None:
    environment = tmp_path / "env"
    environment.write_text("".join(f"{v.name}=x\n" for v in compose.variables() if v.required))
    for files in (["docker-compose.yml"], ["docker-compose.yml", "docker-compose.prod.yml"]):
        options = [option for file in files for option in ("-f", file)]
        command = ["docker-compose", *options, "--env-file", str(environment), "config", "--quiet"]
        done = subprocess.run(command, cwd=compose.ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_refuses_to_start_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("")
    command = ["docker-compose", "--env-file", str(tmp_path / "env"), "config", "--quiet"]
    done = subprocess.run(command, cwd=compose.ROOT, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "in .env" in done.stderr
