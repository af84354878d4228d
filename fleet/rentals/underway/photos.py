"""Photos of a bank that its rider says is back: kept for operators to look at, and forgotten (decision 0248)."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, undefer

from fleet.rentals.errors import PhotoNotFound, TooManyPhotos
from fleet.rentals.underway import claims
from fleet.rentals.underway.models import ReturnClaim, ReturnPhoto
from fleet.rentals.underway.pictures import Picture

PHOTOS_MAX: Final = 5
BATCH: Final = 500


def add(
    session: Session, *, user_id: UUID, rental_id: UUID, sent: bytes, picture: Picture, now: datetime
) -> ReturnPhoto:
    """Keep a picture with the rider's newest claim, decided or not; `sent`: what it was made of.

    The same again is the same photo. Raises RentalNotFound, ClaimNotFound, TooManyPhotos.
    """
    claim = claims.of_rental(session, user_id, rental_id)
    # Two at once count one after the other.
    session.scalars(select(ReturnClaim.id).where(ReturnClaim.id == claim.id).with_for_update(key_share=True)).one()
    digest = hashlib.sha256(sent).digest()
    known = _by_digest(session, claim.id, digest)
    if known is not None:
        return known
    count = session.scalar(select(func.count()).where(ReturnPhoto.claim_id == claim.id)) or 0
    if count >= PHOTOS_MAX:
        raise TooManyPhotos(f"a claim has at most {PHOTOS_MAX} photos", limit=PHOTOS_MAX)
    session.execute(
        insert(ReturnPhoto)
        .values(
            claim_id=claim.id, digest=digest, content=picture.content, width=picture.width, height=picture.height,
            taken_at=now,
        )
        .on_conflict_do_nothing(index_elements=["claim_id", "digest"])
    )  # fmt: skip
    made = _by_digest(session, claim.id, digest)
    assert made is not None
    return made


def _by_digest(session: Session, claim_id: UUID, digest: bytes) -> ReturnPhoto | None:
    query = select(ReturnPhoto).where(ReturnPhoto.claim_id == claim_id, ReturnPhoto.digest == digest)
    return session.scalars(query).one_or_none()


def of_rental(session: Session, user_id: UUID, rental_id: UUID) -> Sequence[ReturnPhoto]:
    """Of the rider's newest claim, oldest first, without their content. Raises RentalNotFound, ClaimNotFound."""
    return of_claim(session, claims.of_rental(session, user_id, rental_id).id)


def of_claim(session: Session, claim_id: UUID) -> Sequence[ReturnPhoto]:
    """Oldest first, without their content; none for a claim that nobody knows."""
    return session.scalars(select(ReturnPhoto).where(ReturnPhoto.claim_id == claim_id).order_by(ReturnPhoto.id)).all()


def mine(session: Session, user_id: UUID, rental_id: UUID, photo_id: UUID) -> ReturnPhoto:
    """One of `of_rental`, with its content. Raises RentalNotFound, ClaimNotFound, PhotoNotFound."""
    claim = claims.of_rental(session, user_id, rental_id)
    photo = photo_by_id(session, photo_id)
    if photo.claim_id != claim.id:
        raise PhotoNotFound("no such photo", photo_id=photo_id)
    return photo


def photo_by_id(session: Session, photo_id: UUID) -> ReturnPhoto:
    """For operators, with its content. Raises PhotoNotFound."""
    query = select(ReturnPhoto).where(ReturnPhoto.id == photo_id).options(undefer(ReturnPhoto.content))
    photo = session.scalars(query).one_or_none()
    if photo is None:
        raise PhotoNotFound("no such photo", photo_id=photo_id)
    return photo


def forget(session: Session, now: datetime, keep: timedelta, limit: int = BATCH) -> int:
    """Delete what is older than `keep`; safe twice at once. Returns how many."""
    old = select(ReturnPhoto.id).where(ReturnPhoto.taken_at < now - keep).order_by(ReturnPhoto.taken_at).limit(limit)
    gone = delete(ReturnPhoto).where(ReturnPhoto.id.in_(old.with_for_update(skip_locked=True)))
    return len(session.scalars(gone.returning(ReturnPhoto.id)).all())
