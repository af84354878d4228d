"""Brings the pieces of a log over HTTP (docs/protocol.md, 20)."""

import base64
import hashlib
import random
import time
from typing import Final

import httpx

from firmware_protocol.signing import log_piece_statement
from simulators.identity import Identity
from simulators.outputs import BringLog, LogPiece

_TIMEOUT_S: Final = 10.0
_TRIES: Final = 4
_LONGEST_WAIT_S: Final = 5.0
#: Nothing is missing, or more came than was asked for: send no more (20.3).
_ENOUGH: Final = frozenset({"complete", "truncated"})
#: Damaged on its way: send it again. What else is wrong with a piece stays wrong.
_AGAIN: Final = "digest_mismatch"


def upload(identity: Identity, wish: BringLog) -> tuple[int, ...]:
    """Indexes of the pieces that did not get there, and may still as messages. Blocks."""
    with httpx.Client(timeout=_TIMEOUT_S) as client:
        for number, piece in enumerate(wish.pieces):
            answer = _put(client, identity, wish.request_id, piece)
            if answer is None:
                return tuple(left.index for left in wish.pieces[number:])
            if not answer.is_success or answer.json()["state"] in _ENOUGH:
                break  # nobody wants the rest
    return ()


def _put(client: httpx.Client, identity: Identity, request_id: str, piece: LogPiece) -> httpx.Response | None:
    """The answer that settles it; None: there was none, or the credential is not taken here."""
    for attempt in range(_TRIES):
        answer = _send(client, identity, request_id, piece)
        if answer is not None and answer.status_code == httpx.codes.FORBIDDEN:
            return None
        if answer is not None and (answer.is_success or _stays_wrong(answer)):
            return answer
        time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, 0.2 * 2**attempt)))  # noqa: S311  # jitter, not secret
    return None


def _send(client: httpx.Client, identity: Identity, request_id: str, piece: LogPiece) -> httpx.Response | None:
    """One try, signed with what is in force at that moment; None: nobody answered."""
    digest = hashlib.sha256(piece.content).digest()
    key_id, signature = identity.signature(log_piece_statement(request_id, piece.index, last=piece.last, digest=digest))
    headers = {
        "Voltbay-Station": identity.code,
        "Voltbay-Key": key_id,
        "Voltbay-Signature": base64.b64encode(signature).decode(),
        "Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        "Content-Type": "application/octet-stream",
    }
    url = f"{identity.api}/log/{request_id}/{piece.index}"
    try:
        return client.put(url, params={"last": str(piece.last).lower()}, content=piece.content, headers=headers)
    except httpx.HTTPError:
        return None


def _stays_wrong(answer: httpx.Response) -> bool:
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        return False
    try:
        return bool(answer.json().get("code") != _AGAIN)
    except ValueError:
        return False
