"""A cabinet with a credential brings its log over HTTP; what does not get there goes as messages."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from msgspec.structs import replace

from firmware_protocol.commands import CollectLogs
from firmware_protocol.messages import CommandResult, LogChunk
from firmware_protocol.signing import signing_key
from firmware_protocol.types import CommandOutcome
from simulators.faults import Fault, FaultKind
from simulators.identity import Credential, Identity, Kept
from simulators.log_upload import upload
from simulators.outputs import BringLog, LogPiece, Output
from simulators.spec import ClaimSpec, default_fleet
from simulators.tuning import Tuning
from tests.simulators.virtual import Bench, only

CLAIM = ClaimSpec(url="http://api/api/v1/device/claim", token="t" * 43, kind="secret")
STATION = replace(default_fleet(1, 1).stations[0], claim=CLAIM)


class Bringing(Bench):
    """Keeps what the cabinet wants to bring."""

    def __init__(self) -> None:
        super().__init__(Tuning(log_chunk_bytes=40), station=STATION)
        self.wishes: list[BringLog] = []

    def _one(self, output: Output) -> None:
        if isinstance(output, BringLog):
            self.wishes.append(output)
        else:
            super()._one(output)

    def brought(self, *left: int) -> None:
        self.cabinet.brought(self.wishes[-1].command_id, left, self.now_ms)
        self.run(0)


@pytest.fixture
def bench() -> Bringing:
    bench = Bringing()
    bench.ready()
    for number in range(20):
        bench.cabinet.board.note(f"line {number}", bench.now_ms)
    return bench


def test_a_log_is_brought_and_then_the_command_has_its_result(bench: Bringing) -> None:
    bench.cabinet.add_fault(Fault(kind=FaultKind.LOST_LOG_CHUNK, count=1), bench.now_ms)
    bench.command(CollectLogs(request_id="log-1"))
    pieces = bench.wishes[0].pieces
    assert [piece.index for piece in pieces] == list(range(1, len(pieces) + 1))
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert bench.events() == []
    bench.brought()
    assert only(CommandResult, bench.events()).outcome is CommandOutcome.SUCCEEDED
    bench.command(CollectLogs(request_id="log-1", indexes=(0,)), number=2)
    assert [piece.index for piece in bench.wishes[1].pieces] == [0]


def test_what_did_not_get_there_goes_as_messages(bench: Bringing) -> None:
    bench.command(CollectLogs(request_id="log-1"))
    bench.brought(1, 2)
    *chunks, result = bench.events()
    assert [(chunk.index, chunk.content) for chunk in chunks if isinstance(chunk, LogChunk)] == [
        (piece.index, piece.content) for piece in bench.wishes[0].pieces[1:3]
    ]
    assert isinstance(result, CommandResult)


def test_a_restart_ends_the_upload(bench: Bringing) -> None:
    bench.command(CollectLogs(request_id="log-1"))
    bench.cabinet.restart(bench.now_ms)
    bench.run(10_000)
    bench.welcome()
    assert only(CommandResult, bench.events()).code == "interrupted"
    bench.brought(0)
    assert bench.events() == []


SECRET = bytes(range(32))
WISH = BringLog("c", "log-1", (LogPiece(0, False, b"first"), LogPiece(1, False, b"second"), LogPiece(2, True, b"end")))
RECEIVING = (200, {"state": "receiving"})


@contextmanager
def api(*answers: tuple[int, dict[str, str]]) -> Iterator[tuple[Identity, list[tuple[str, bytes]]]]:
    """An HTTP server that gives these answers in turn and looks at each signature; paths and bodies that came."""
    left, heard = list(answers), list[tuple[str, bytes]]()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, body))
            index, last = self.path.partition("?last=")[0].rsplit("/", 1)[1], self.path.endswith("true")
            digest = hashlib.sha256(body).digest()
            said = f"vdp1 log\nlog-1\n{index}\n{int(last)}\n".encode() + digest
            mac = base64.b64encode(hmac.digest(signing_key(SECRET), said, "sha256")).decode()
            signed = self.headers["Voltbay-Signature"] == mac and self.headers["Voltbay-Key"] == "k"
            fits = self.headers["Content-Digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
            status, text = left.pop(0) if signed and fits else (500, {})
            content = json.dumps(text).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield _identity(f"http://127.0.0.1:{server.server_address[1]}/api/v1/device/claim"), heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _identity(url: str) -> Identity:
    identity = Identity(replace(CLAIM, url=url), "VB-1", None)
    identity.kept = Kept(current=Credential(key_id="k", secret=base64.urlsafe_b64encode(SECRET).decode().rstrip("=")))
    return identity


def test_every_piece_is_signed_and_a_damaged_one_sent_again() -> None:
    damaged = (422, {"code": "digest_mismatch"})
    with api(RECEIVING, (503, {}), damaged, RECEIVING, (200, {"state": "complete"})) as (identity, heard):
        assert upload(identity, WISH) == ()
    assert [path.removeprefix("/api/v1/device/log/log-1/") for path, _ in heard] == [
        "0?last=false", "1?last=false", "1?last=false", "1?last=false", "2?last=true",
    ]  # fmt: skip
    assert [body for _, body in heard] == [b"first", b"second", b"second", b"second", b"end"]


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ((200, {"state": "truncated"}), ()),
        ((422, {"code": "unknown_log_request"}), ()),
        ((403, {"code": "call_refused"}), (1, 2)),
    ],
)
def test_when_no_more_is_brought(answer: tuple[int, dict[str, str]], left: tuple[int, ...]) -> None:
    with api(RECEIVING, answer) as (identity, heard):
        assert upload(identity, WISH) == left
    assert len(heard) == 2


def test_where_nobody_answers_everything_is_left() -> None:
    assert upload(_identity("http://127.0.0.1:1/api/v1/device/claim"), WISH) == (0, 1, 2)
