"""`voltbay firmware`: keys, roots and releases (offline, files only), and what the fleet knows of them."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from sqlalchemy.orm import Session

from cli.database import fleet_session
from cli.desk import AsJson, Limit, Reason, print_table
from firmware_protocol.errors import ProtocolError
from firmware_protocol.firmware.documents import (
    ROOT_TYPE,
    Image,
    Release,
    Role,
    Root,
    read_bundle,
    read_root,
    unsigned,
    write_bundle,
)
from firmware_protocol.firmware.envelope import key_id, raw_key, read_envelope, sign, write_envelope
from firmware_protocol.firmware.trust import check_image, check_release, check_signed_release, factory_trust
from fleet.common.blobs import FolderBlobs
from fleet.common.clock import utc_now
from fleet.devices.firmware import releases
from fleet.settings import Settings
from fleet.users import audit

app = typer.Typer(
    help="Signed firmware: keygen, root, release, sign, verify, add, list, withdraw.", no_args_is_help=True
)
_Keys = Annotated[list[Path], typer.Option("--key", help="Public key file; once for each key.")]
_File = Annotated[Path, typer.Argument(exists=True, dir_okay=False)]
_PART_BYTES = 1 << 20


@contextmanager
def _refusals() -> Iterator[None]:
    """What is wrong with a file or a signature ends the command with one line and exit code 1."""
    try:
        yield
    except (ProtocolError, ValueError, OSError) as error:
        typer.echo(f"voltbay: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def keygen(name: Annotated[Path, typer.Argument(help="NAME.key and NAME.pub are written; neither may exist.")]) -> None:
    """Make a signing key. Keep NAME.key offline, each at another place; NAME.pub goes into a root."""
    with _refusals():
        key = Ed25519PrivateKey.generate()
        _write_new(
            name.with_suffix(".key"), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600
        )
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write_new(name.with_suffix(".pub"), public, 0o644)
        typer.echo(key_id(key.public_key()))


@app.command()
def root(  # noqa: PLR0917  # typer gives them by name
    output: Annotated[Path, typer.Argument(help="The unsigned root is written here.")],
    key: _Keys,
    threshold: Annotated[int, typer.Option(min=1, help="So many of the keys must sign.")] = 2,
    release_key: Annotated[list[Path] | None, typer.Option(help="Keys for releases; default: the same.")] = None,
    release_threshold: Annotated[int | None, typer.Option(min=1)] = None,
    previous: Annotated[Path | None, typer.Option(help="The root that this one replaces.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Until it expires.")] = 3650,
) -> None:
    """Write a root of trust: who may sign the next root, and releases. Sign it with the old and the new keys."""
    with _refusals():
        keys, others = [_public(path) for path in key], [_public(path) for path in release_key or key]
        version = 1 if previous is None else read_root(read_envelope(previous.read_bytes())).version + 1
        document = Root(
            version=version,
            expires_ms=_ms(utc_now() + timedelta(days=days)),
            keys={key_id(each): raw_key(each).hex() for each in (*keys, *others)},
            root=Role(keyids=tuple(map(key_id, keys)), threshold=threshold),
            releases=Role(keyids=tuple(map(key_id, others)), threshold=release_threshold or threshold),
        )
        _write_new(output, write_envelope(unsigned(document)), 0o644)
        typer.echo(f"root {version}, not signed yet: voltbay firmware sign {output} KEY")


@app.command()
def release(  # noqa: PLR0917  # typer gives them by name
    image: _File,
    output: Annotated[Path, typer.Argument(help="The unsigned release is written here.")],
    version: Annotated[str, typer.Option(help="What `booted` will say, as 2.5.0.")],
    counter: Annotated[int, typer.Option(min=1, help="Above that of every release before for this hardware.")],
    hardware: Annotated[list[str], typer.Option(help="As `booted` says it; once for each.")],
    min_version: Annotated[str | None, typer.Option(help="The lowest version that may be updated straight.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Until it is no longer installed.")] = 180,
) -> None:
    """Write a release of an image."""
    with _refusals():
        now = utc_now()
        size, digest = _measure(image)
        document = Release(
            version=version,
            counter=counter,
            hardware=tuple(hardware),
            issued_ms=_ms(now),
            expires_ms=_ms(now + timedelta(days=days)),
            image=Image(size=size, sha256=digest),
            min_version=min_version,
        )
        _write_new(output, write_envelope(unsigned(document)), 0o644)
        typer.echo(f"{version}: {size} bytes, SHA-256 {digest}; not signed yet: voltbay firmware sign {output} KEY")


@app.command("sign")
def sign_(file: _File, key: Annotated[Path, typer.Argument(help="A .key file.")]) -> None:
    """Add one signature to a root or release. Needs no fleet: do it where the key lives."""
    with _refusals():
        private = load_pem_private_key(key.read_bytes(), password=None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError(f"{key} holds no Ed25519 key")  # noqa: TRY004  # a wrong file, not a bug
        signed = sign(read_envelope(file.read_bytes()), private)
        file.write_bytes(write_envelope(signed))
        typer.echo(f"signed by {key_id(private.public_key())}; {len(signed.signatures)} signatures")


@app.command()
def verify(
    factory_root: _File,
    release_file: _File,
    hardware: Annotated[str, typer.Option(help="Of the cabinet, as `booted` says it.")],
    running: Annotated[str, typer.Option(help="Its version.")] = "0",
    image: Annotated[Path | None, typer.Option(help="Check the image too.")] = None,
) -> None:
    """What a cabinet fresh from the factory would say: the verifier that it runs, on these files."""
    with _refusals():
        trust = factory_trust(factory_root.read_bytes())
        bundle = read_bundle(write_bundle((), read_envelope(release_file.read_bytes())))
        found = check_release(bundle, trust, hardware=hardware, version=running, now_ms=_ms(utc_now()))
        if image is not None:
            check_image(found.image, *_measure(image))
        typer.echo(f"accepted: {found.version}, counter {found.counter}")


@app.command()
def add(
    file: _File,
    image: Annotated[Path | None, typer.Argument(help="Of a release.")] = None,
    notes: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Add a signed root, or a signed release with its image, to the fleet."""
    with _refusals(), fleet_session("firmware") as (session, settings):
        data = file.read_bytes()
        if read_envelope(data).payload_type == ROOT_TYPE:
            typer.echo(f"root {releases.add_root(session, data, utc_now()).version}")
            return
        if image is None:
            raise ValueError("a release needs its image: voltbay firmware add RELEASE IMAGE")
        typer.echo(_add_release(session, settings, data, image, notes))


def _add_release(session: Session, settings: Settings, data: bytes, image: Path, notes: str) -> str:
    wanted = check_signed_release(read_envelope(data), releases.trusted_root(session)).image
    check_image(wanted, *_measure(image))
    row = releases.add_release(session, data, utc_now(), notes=notes)
    blobs = FolderBlobs(settings.blobs)
    with blobs.incoming(releases.image_key(row)) as incoming, image.open("rb") as source:
        while part := source.read(_PART_BYTES):
            incoming.write(part)
        incoming.keep(size=row.size, sha256=row.sha256)
    releases.image_arrived(session, row.id, blobs)
    return f"release {row.id}: {row.version} for {', '.join(row.hardware)}"


@app.command("list")
def list_(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Releases, newest first."""
    with _refusals(), fleet_session("firmware") as (session, _):
        rows = [
            (row.id, row.version, row.counter, ", ".join(row.hardware), row.state, row.expires_at, row.size)
            for row in releases.releases(session, limit=limit)
        ]
    print_table(("id", "version", "counter", "hardware", "state", "expires", "bytes"), rows, as_json=as_json)


@app.command()
def withdraw(release_id: Annotated[int, typer.Argument(help="As `list` shows it.")], reason: Reason) -> None:
    """Give a release out no more: its rollouts halt, cabinets that have it keep it."""
    with fleet_session("firmware") as (session, _):
        row = releases.withdraw(session, release_id)
        detail = {"by": "voltbay", "reason": reason}
        audit.record(session, action="firmware.withdraw", now=utc_now(), target=str(release_id), detail=detail)
        typer.echo(f"{row.version}: {row.state}")


def _public(path: Path) -> Ed25519PublicKey:
    key = load_pem_public_key(path.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{path} holds no Ed25519 key")  # noqa: TRY004  # a wrong file, not a bug
    return key


def _measure(path: Path) -> tuple[int, str]:
    """Size and SHA-256 in hex."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Never over a file that is there: keys cannot be made again."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _ms(at: datetime) -> int:
    return round(at.astimezone(UTC).timestamp() * 1000)
