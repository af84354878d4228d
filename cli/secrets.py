"""`voltbay secrets`: what a deployment needs to be secret, made rather than invented by hand."""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cli.embedded.mosquitto import GATEWAY_USER
from fleet.devices.passwords import password_file
from simulators.spec import default_fleet

app = typer.Typer(help="Make secrets for a deployment.", no_args_is_help=True)

#: Bytes of each secret: nothing to guess, so that a fast hash of it is enough.
_SECRET_BYTES = 32
#: Variables of docker-compose.yml that hold one random word each.
WORDS = (
    "POSTGRES_PASSWORD",
    "DATABASE_PASSWORD",
    "REDIS_PASSWORD",
    "MQTT_GATEWAY_PASSWORD",
    "SIMULATOR_PASSWORD",
    "FLOWER_PASSWORD",
    "VOLTBAY_SECRET_KEY",
    "VOLTBAY_SANDBOX_WEBHOOK_SECRET",
)


@app.command()
def env() -> None:
    """Print a .env for docker-compose.yml with every secret new: voltbay secrets env > .env."""
    for name in WORDS:
        typer.echo(f"{name}={_word()}")
    # Compose turns \n into line ends between double quotes.
    key = _token_key().replace("\n", "\\n")
    typer.echo(f'VOLTBAY_TOKEN_PRIVATE_KEY="{key}"')


@app.command()
def cabinets(codes: Annotated[list[str], typer.Argument(help="Station codes.")]) -> None:
    """Print CODE:SECRET lines, one new MQTT secret a cabinet; collect them in deploy/secrets/cabinets."""
    for code in codes:
        typer.echo(f"{code}:{_word()}")


@app.command()
def broker(  # noqa: PLR0917  # typer gives them by name
    output: Annotated[Path, typer.Argument(help="Folder for gateway.passwords, devices.passwords and tls/.")],
    gateway_password: Annotated[str, typer.Option(envvar="MQTT_GATEWAY_PASSWORD", help="Of the user `gateway`.")],
    given: Annotated[
        Path | None, typer.Option("--from", help="Folder with `cabinets` (CODE:SECRET lines) and `tls/`, if any.")
    ] = None,
    simulated: Annotated[
        int, typer.Option(envvar="SIMULATED_STATIONS", min=0, help="Simulated cabinets, 0: none.")
    ] = 0,
    simulator_password: Annotated[str, typer.Option(envvar="SIMULATOR_PASSWORD", help="Theirs, all the same.")] = "",
    owner: Annotated[int | None, typer.Option(help="User id of the broker; needs root.")] = None,
) -> None:
    """Write what the broker checks passwords with. Afterwards SIGHUP makes a running broker read it again."""
    if simulated and not simulator_password:
        raise typer.BadParameter("simulated cabinets need SIMULATOR_PASSWORD")
    known = {station.code: simulator_password for station in default_fleet(simulated).stations} if simulated else {}
    if given is not None:
        known |= read_cabinets(given / "cabinets")
    _write(output / "gateway.passwords", password_file({GATEWAY_USER: gateway_password}).encode(), owner)
    _write(output / "devices.passwords", password_file(known).encode(), owner)
    # The rest of what the broker checks is broker-sync's, who runs as the broker's user.
    identity = output / "identity"
    identity.mkdir(mode=0o700, parents=True, exist_ok=True)
    if owner is not None:
        os.chown(identity, owner, owner)
    certificates = sorted((given / "tls").glob("*.pem")) if given is not None else []
    for file in certificates:
        _write(output / "tls" / file.name, file.read_bytes(), owner)
    typer.echo(f"{len(known)} cabinets, {len(certificates)} TLS files")


def read_cabinets(path: Path) -> dict[str, str]:
    """Secrets by station code from CODE:SECRET lines ('#' begins a comment line); a missing file holds none.

    Raises typer.BadParameter naming the line that is none of these, or that repeats a code.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        if not line.strip() or line.startswith("#"):
            continue
        code, colon, secret = line.strip().partition(":")
        if not (code and colon and secret) or code in found:
            raise typer.BadParameter(f"{path}:{number}: expected CODE:SECRET, each code once")
        found[code] = secret
    return found


def _word() -> str:
    return secrets.token_hex(_SECRET_BYTES)  # hexadecimal: needs no quoting in files, addresses and shells


def _token_key() -> str:
    """A new Ed25519 key as PEM (PKCS 8)."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _write(path: Path, content: bytes, owner: int | None) -> None:
    """For its owner only, and whole or not at all: a broker may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    if owner is not None:
        os.chown(fresh, owner, owner)
    fresh.replace(path)
