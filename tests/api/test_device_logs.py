"""A native cabinet brings its log over HTTP: signed, checked, in any order, as often as it takes."""

import base64
import gzip
import hashlib
from typing import Any
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy.orm import Session

from firmware_protocol.limits import MAX_LOG_UPLOAD_BYTES
from firmware_protocol.signing import call_mac, log_piece_statement, log_status_statement
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import credentials
from fleet.devices.logs import collect
from tests.api.conftest import Live, Serve
from tests.api.people import operator
from tests.api.test_device_provisioning import CLAIM, token_of
from tests.factories import add_station
from tests.fleet.devices.test_claims import csr_of, new_key

PIECES = [b"first line\n", b"second line\n", b"last line\n"]


@pytest.fixture
def live(serve: Serve) -> Live:
    live = serve()
    with session_scope(live.engine) as session:
        for code in ("VB-1", "VB-2"):
            add_station(session, utc_now(), code)
    return live


def asked(live: Live, code: str = "VB-1", **more: Any) -> str:
    with session_scope(live.engine) as session:
        return str(collect.request_log(session, code, utc_now(), **more).id)


class Uploader:
    """As a cabinet does it: with its certificate's key, or with its secret."""

    def __init__(self, live: Live, *, by: str = "certificate", station: str = "VB-1") -> None:
        self.live, self.station = live, station
        self.key = new_key()
        with operator(live) as boss:
            token = token_of(boss, kind=by)
        request = {"csr": csr_of(self.key)} if by == "certificate" else {"nonce": "n" * 40}
        given = live.client.post(CLAIM, json={"token": token, **request}).json()
        self.key_id = given["key_id"]
        self.secret = None if given["secret"] is None else base64.urlsafe_b64decode(given["secret"] + "=")

    def signature(self, statement: bytes) -> str:
        if self.secret is not None:
            return base64.b64encode(call_mac(self.secret, statement)).decode()
        return base64.b64encode(self.key.sign(statement, ec.ECDSA(SHA256()))).decode()

    def put(
        self, log: str, index: int, content: bytes, *, last: bool = False, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        digest = hashlib.sha256(content).digest()
        statement = log_piece_statement(log, index, last=last, digest=digest)
        sent = {
            "Voltbay-Station": self.station,
            "Voltbay-Key": self.key_id,
            "Voltbay-Signature": self.signature(statement),
            "Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
            "Content-Type": "application/octet-stream",
            **(headers or {}),
        }
        url = f"/api/v1/device/log/{log}/{index}"
        return self.live.client.put(url, params={"last": str(last).lower()}, content=content, headers=sent)

    def progress(self, log: str) -> httpx.Response:
        sent = {"Voltbay-Station": self.station, "Voltbay-Key": self.key_id}
        sent["Voltbay-Signature"] = self.signature(log_status_statement(log))
        return self.live.client.get(f"/api/v1/device/log/{log}", headers=sent)


def content_of(live: Live, log: str) -> bytes:
    with operator(live) as boss:
        return gzip.decompress(boss.http.get(f"/api/v1/admin/device-log/{log}/content").content)


@pytest.mark.parametrize("by", ["certificate", "secret"])
def test_pieces_come_in_any_order_and_twice(live: Live, by: str) -> None:
    cabinet, log = Uploader(live, by=by), asked(live)
    assert cabinet.progress(log).json() == {"state": "requested", "pieces": 0, "size": 0, "missing": []}
    first = cabinet.put(log, 2, PIECES[2], last=True)
    assert (first.status_code, first.json()["missing"]) == (200, [0, 1]), first.text
    cabinet.put(log, 0, PIECES[0])
    assert cabinet.put(log, 0, PIECES[0]).json() == {"state": "receiving", "pieces": 2, "size": 21, "missing": [1]}
    assert cabinet.progress(log).json()["missing"] == [1]
    assert cabinet.put(log, 1, PIECES[1]).json()["state"] == "complete"
    assert cabinet.put(log, 1, PIECES[1]).json() == {"state": "complete", "pieces": 3, "size": 33, "missing": []}
    assert content_of(live, log) == b"".join(PIECES)


def test_what_is_damaged_or_too_large_changes_nothing(live: Live) -> None:
    cabinet, log = Uploader(live), asked(live)
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    broken = cabinet.put(log, 0, PIECES[0], headers={"Content-Digest": f"sha-256=:{other}:"})
    assert (broken.status_code, broken.json()["code"]) == (403, "call_refused"), "the digest is signed"
    digest = hashlib.sha256(b"other").digest()
    forged = cabinet.signature(log_piece_statement(log, 0, last=False, digest=digest))
    damaged = {"Content-Digest": f"sha-256=:{other}:", "Voltbay-Signature": forged}
    answer = cabinet.put(log, 0, PIECES[0], headers=damaged)
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    large = cabinet.put(log, 0, bytes(MAX_LOG_UPLOAD_BYTES + 1))
    assert (large.status_code, large.json()["code"]) == (413, "piece_too_large")
    assert cabinet.put(log, 0, bytes(MAX_LOG_UPLOAD_BYTES)).json()["size"] == MAX_LOG_UPLOAD_BYTES
    for headers in ({"Content-Digest": "md5=:AAAA:"}, {"Voltbay-Signature": "not base64!"}):
        assert cabinet.put(log, 1, PIECES[0], headers=headers).status_code == 422
    assert cabinet.put(log, 4096, PIECES[0]).status_code == 422
    assert cabinet.progress(log).json()["pieces"] == 1


def test_a_log_has_a_limit_of_its_own(live: Live) -> None:
    cabinet, log = Uploader(live), asked(live, max_bytes=20)
    assert cabinet.put(log, 0, PIECES[0]).json()["state"] == "receiving"
    assert cabinet.put(log, 1, PIECES[1], last=True).json()["state"] == "truncated"
    assert content_of(live, log) == PIECES[0]


def test_only_the_cabinet_that_was_asked_brings_it(live: Live) -> None:
    cabinet, log, others = Uploader(live), asked(live), asked(live, "VB-2")
    refused = [
        cabinet.put(log, 0, PIECES[0], headers={"Voltbay-Station": "VB-2"}),
        cabinet.put(log, 0, PIECES[0], headers={"Voltbay-Key": "0" * 16}),
        cabinet.put(log, 0, PIECES[0], headers={"Voltbay-Signature": cabinet.signature(b"something else")}),
    ]
    assert {(each.status_code, each.json()["code"]) for each in refused} == {(403, "call_refused")}
    assert len({each.json()["detail"] for each in refused}) == 1
    for unknown in (others, "00000000-0000-7000-8000-000000000000", "no-id"):
        answer = cabinet.put(unknown, 0, PIECES[0])
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_log_request")
    with Session(live.engine) as session:
        station = collect.get_log(session, UUID(log)).station_id
    with session_scope(live.engine) as session:
        credentials.revoke_all(session, station, "stolen", utc_now())
    assert cabinet.put(log, 0, PIECES[0]).status_code == 403
    assert cabinet.progress(log).status_code == 403
