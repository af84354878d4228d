"""Roots of trust and releases: taken only when a cabinet would take them. Servers hold public keys and nothing else."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from firmware_protocol.firmware.documents import Root, read_root, write_bundle
from firmware_protocol.firmware.envelope import Envelope, read_envelope
from firmware_protocol.firmware.errors import FirmwareRefused
from firmware_protocol.firmware.trust import check_root, check_signed_release
from fleet.common.blobs import Blobs
from fleet.devices.firmware.errors import (
    LinkRefused,
    NoRootOfTrust,
    ReleaseNotFound,
    ReleaseNotReady,
    SignatureRefused,
)
from fleet.devices.firmware.models import FirmwareRelease, FirmwareRoot, ReleaseState

#: Given to the cabinet with the command; it must outlive a slow modem's download.
_LINK_BYTES: Final = 24


def image_key(release: FirmwareRelease) -> str:
    """Where its image is in the blob store: two releases of one image share it."""
    return f"firmware/{release.sha256}"


def add_root(session: Session, envelope: bytes, now: datetime, *, actor_id: UUID | None = None) -> FirmwareRoot:
    """The next version of the root of trust, or the first. The same one again changes nothing.

    Raises SignatureRefused unless it is signed by a threshold of its predecessor's keys and of its own.
    """
    newest = _newest_root(session, lock=True)
    try:
        signed = read_envelope(envelope)
        claimed = read_root(signed)
        known = session.get(FirmwareRoot, claimed.version)
        if known is not None and read_envelope(known.envelope).payload == signed.payload:
            return known
        root = check_root(signed, newest)
    except FirmwareRefused as refused:
        raise SignatureRefused(str(refused), reason=refused.code) from refused
    if newest is None and root.version != 1:
        raise SignatureRefused(f"the first root is version 1, not {root.version}", reason="root_gap")
    row = FirmwareRoot(
        version=root.version,
        envelope=envelope,
        expires_at=_instant(root.expires_ms),
        created_at=now,
        created_by=actor_id,
    )
    session.add(row)
    session.flush()  # a root that somebody else adds at the same time belongs to this call
    return row


def trusted_root(session: Session) -> Root:
    """The newest root. Raises NoRootOfTrust."""
    root = _newest_root(session)
    if root is None:
        raise NoRootOfTrust("add a root of trust first: voltbay firmware add root.json")
    return root


def _newest_root(session: Session, *, lock: bool = False) -> Root | None:
    query = select(FirmwareRoot).order_by(FirmwareRoot.version.desc()).limit(1)
    row = session.scalars(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else read_root(read_envelope(row.envelope))


def roots(session: Session) -> list[FirmwareRoot]:
    """Oldest first."""
    return list(session.scalars(select(FirmwareRoot).order_by(FirmwareRoot.version)))


def add_release(
    session: Session, envelope: bytes, now: datetime, *, notes: str = "", actor_id: UUID | None = None
) -> FirmwareRelease:
    """A signed release, waiting for its image. The same one again gives the row that is there.

    Raises SignatureRefused, NoRootOfTrust.
    """
    root = trusted_root(session)
    try:
        signed = read_envelope(envelope)
        release = check_signed_release(signed, root)
    except FirmwareRefused as refused:
        raise SignatureRefused(str(refused), reason=refused.code) from refused
    if now >= _instant(release.expires_ms):
        raise SignatureRefused(f"{release.version} has expired", reason="expired")
    digest = hashlib.sha256(signed.payload).hexdigest()
    session.execute(
        insert(FirmwareRelease)
        .values(
            digest=digest,
            envelope=envelope,
            version=release.version,
            counter=release.counter,
            hardware=list(release.hardware),
            min_version=release.min_version,
            issued_at=_instant(release.issued_ms),
            expires_at=_instant(release.expires_ms),
            size=release.image.size,
            sha256=release.image.sha256,
            state=ReleaseState.NO_IMAGE,
            notes=notes,
            created_at=now,
            created_by=actor_id,
        )
        .on_conflict_do_nothing(index_elements=["digest"])
    )
    return session.scalars(select(FirmwareRelease).where(FirmwareRelease.digest == digest)).one()


def get_release(session: Session, release_id: int, *, lock: bool = False) -> FirmwareRelease:
    """Raises ReleaseNotFound."""
    query = select(FirmwareRelease).where(FirmwareRelease.id == release_id)
    release = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if release is None:
        raise ReleaseNotFound("there is no such release", release_id=release_id)
    return release


def releases(session: Session, *, limit: int, before: int | None = None) -> list[FirmwareRelease]:
    """Newest first."""
    query = select(FirmwareRelease).order_by(FirmwareRelease.id.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(FirmwareRelease.id < before)))


def image_arrived(session: Session, release_id: int, blobs: Blobs) -> FirmwareRelease:
    """Its image is in the store, where only the signed content is kept. Raises ReleaseNotReady when it is not."""
    release = get_release(session, release_id, lock=True)
    if not blobs.exists(image_key(release)):
        raise ReleaseNotReady("the image is not here", release_id=release_id)
    if release.state is ReleaseState.NO_IMAGE:
        release.state = ReleaseState.READY
    return release


def withdraw(session: Session, release_id: int) -> FirmwareRelease:
    """Nobody new is told of it and its image is served no more; rollouts of it halt by themselves."""
    release = get_release(session, release_id, lock=True)
    release.state = ReleaseState.WITHDRAWN
    return release


def why_not_ready(release: FirmwareRelease, now: datetime) -> str | None:
    """None when stations may be told of it."""
    if release.state is not ReleaseState.READY:
        return "its image is not here" if release.state is ReleaseState.NO_IMAGE else "it was withdrawn"
    return "it has expired" if release.expires_at <= now else None


def bundle_of(session: Session, release: FirmwareRelease) -> bytes:
    """What `update_firmware` carries."""
    later: list[Envelope] = [read_envelope(row.envelope) for row in roots(session) if row.version > 1]
    return write_bundle(tuple(later), read_envelope(release.envelope))


def sign_link(secret: bytes, release_id: int, station: str, expires: int) -> str:
    """Hex; `expires` in seconds since 1970. Good for this release and this station only."""
    message = b"%d\0%b\0%d" % (release_id, station.encode(), expires)
    return hmac.digest(secret, message, "sha256")[:_LINK_BYTES].hex()


def link(secret: bytes, base_url: str, release_id: int, station: str, expires_at: datetime) -> str:
    """The address of an image for one station."""
    expires = round(expires_at.timestamp())
    signature = sign_link(secret, release_id, station, expires)
    return f"{base_url}/api/v1/device/firmware/{release_id}/{station}?expires={expires}&signature={signature}"


def check_link(secret: bytes, release_id: int, station: str, *, expires: int, signature: str, now: datetime) -> None:
    """Raises LinkRefused."""
    if not hmac.compare_digest(sign_link(secret, release_id, station, expires).encode(), signature.encode()):
        raise LinkRefused("this address was not made here")
    if now.timestamp() >= expires:
        raise LinkRefused("this address is no longer good")


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
