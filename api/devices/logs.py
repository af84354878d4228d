"""Where native cabinets bring the pieces of a log, if not as messages: signed, checked, each as often as it takes."""

from base64 import b64decode
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from api.bodies import read_at_most
from api.deps import Now, RuntimeDep, SessionDep
from api.devices.schemas import LogProgressOut
from api.problems import problems
from api.v1 import area
from firmware_protocol.limits import MAX_LOG_CHUNKS, MAX_LOG_UPLOAD_BYTES
from fleet.common.vault import Vault
from fleet.devices import credentials
from fleet.devices.logs import uploads
from fleet.devices.logs.errors import PieceTooLarge
from fleet.devices.logs.uploads import Piece, Progress
from fleet.devices.proofs import Proof

router = area("device", "devices")

_PIECE = {"schema": {"type": "string", "format": "binary", "examples": ["09:00:01 door closed\n"]}}
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_Id = Annotated[str, Path(max_length=64, description="the log's, as `collect_logs` told it")]


def _proof(
    station: Annotated[str, Header(alias="Voltbay-Station", max_length=64)],
    key: Annotated[str, Header(alias="Voltbay-Key", max_length=16, description="`key_id` of the credential")],
    signature: Annotated[
        str, Header(alias="Voltbay-Signature", max_length=200, pattern=rf"^(?:{_BASE64})$", description="base64")
    ],
) -> Proof:
    return Proof(station, key, _decoded(signature))


def _digest(
    digest: Annotated[
        str,
        Header(
            alias="Content-Digest", max_length=100, pattern=rf"^sha-256=:{_BASE64}:$", description="RFC 9530, SHA-256"
        ),
    ],
) -> bytes:
    return _decoded(digest.removeprefix("sha-256=:").rstrip(":"))


async def _content(request: Request) -> bytes:
    too_large = PieceTooLarge(f"a piece has at most {MAX_LOG_UPLOAD_BYTES} bytes")
    return await read_at_most(request, MAX_LOG_UPLOAD_BYTES, too_large)


_Proof = Annotated[Proof, Depends(_proof)]


@router.put(
    "/log/{request_id}/{index}", operation_id="upload_log_piece", summary="Bring one piece of a log",
    responses=problems(403, 413, 422),
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": _PIECE}}},
)  # fmt: skip
def upload_log_piece(  # FastAPI gives them by name
    request_id: _Id,
    index: Annotated[int, Path(ge=0, lt=MAX_LOG_CHUNKS, description="from 0")],
    proof: _Proof,
    digest: Annotated[bytes, Depends(_digest)],
    content: Annotated[bytes, Depends(_content)],
    session: SessionDep,
    runtime: RuntimeDep,
    now: Now,
    last: Annotated[bool, Query(description="no piece follows this one")] = False,
) -> LogProgressOut:
    """The same piece changes nothing. It joins those that come as `log_chunk`."""
    piece = Piece(request_id, index, last, content, digest)
    vault = Vault.of(runtime.settings, credentials.PURPOSE)
    return _out(uploads.take(session, piece, proof, vault, now))


@router.get(
    "/log/{request_id}", operation_id="get_log_progress", summary="What is here of a log, to go on after a break",
    responses=problems(403, 422),
)  # fmt: skip
def get_log_progress(
    request_id: _Id, proof: _Proof, session: SessionDep, runtime: RuntimeDep, now: Now
) -> LogProgressOut:
    vault = Vault.of(runtime.settings, credentials.PURPOSE)
    return _out(uploads.progress(session, request_id, proof, vault, now))


def _out(progress: Progress) -> LogProgressOut:
    log = progress.log
    return LogProgressOut(state=log.state, pieces=log.chunks, size=log.size, missing=list(progress.missing))


def _decoded(text: str) -> bytes:
    """The pattern let it in; what is still no base64 fits no signature and no digest."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""
