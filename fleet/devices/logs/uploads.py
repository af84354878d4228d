"""Pieces of a log over HTTP: the same pieces, into the same log, as those that come as `log_chunk`."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from firmware_protocol.messages import LogChunk
from firmware_protocol.signing import log_piece_statement, log_status_statement, same
from fleet.common.vault import Vault
from fleet.devices.logs import collect
from fleet.devices.logs.errors import DigestMismatch
from fleet.devices.logs.models import DeviceLog
from fleet.devices.proofs import Proof, caller


@dataclass(frozen=True, slots=True)
class Piece:
    """`digest`: SHA-256 of the content as the cabinet counted it."""

    request_id: str
    index: int
    last: bool
    content: bytes = field(repr=False)
    digest: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """What is here of a log. `missing`: pieces that are known to lack, the first of them."""

    log: DeviceLog
    missing: tuple[int, ...]


def take(session: Session, piece: Piece, proof: Proof, vault: Vault, now: datetime) -> Progress:
    """Store one piece, once, however often it comes.

    Raises CallRefused, DigestMismatch, UnknownLogRequest, ImpossibleChunk.
    """
    statement = log_piece_statement(piece.request_id, piece.index, last=piece.last, digest=piece.digest)
    station_id = caller(session, proof, statement, vault, now)
    if not same(hashlib.sha256(piece.content).digest(), piece.digest):
        raise DigestMismatch("the content is not what its digest says: it was damaged on its way")
    chunk = LogChunk(request_id=piece.request_id, index=piece.index, last=piece.last, content=piece.content)
    collect.store_piece(session, station_id, chunk, now)
    return _progress(session, piece.request_id, station_id)


def progress(session: Session, request_id: str, proof: Proof, vault: Vault, now: datetime) -> Progress:
    """What lacks, for a cabinet that goes on after a break. Raises CallRefused, UnknownLogRequest."""
    station_id = caller(session, proof, log_status_statement(request_id), vault, now)
    return _progress(session, request_id, station_id)


def _progress(session: Session, request_id: str, station_id: int) -> Progress:
    log = collect.log_of(session, request_id, station_id)
    return Progress(log, collect.missing(session, log) if collect.takes_more(log) else ())
