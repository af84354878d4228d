import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import select

from firmware_protocol.signing import renewal_statement, rotation_statement
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.models import DeviceCommand
from fleet.devices.signing_requests import digest_of
from fleet.users.models import UserAuditLog
from tests.api.conftest import Live, Serve
from tests.api.people import Person, operator
from tests.factories import add_station
from tests.fleet.devices.test_claims import csr_of, new_key

ADMIN = "/api/v1/admin"
CLAIM = "/api/v1/device/claim"


@pytest.fixture
def live(serve: Serve) -> Live:
    live = serve(cabinet_tls_url="mqtts://broker.example.org:8883")
    with session_scope(live.engine) as session:
        add_station(session, utc_now(), "VB-1")
    return live


def token_of(boss: Person, **body: Any) -> str:
    answer = boss.http.post(f"{ADMIN}/claim-token", json={"bindings": [{"station": "VB-1"}], **body})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    token: str = answer.json()["tokens"][0]["token"]
    return token


def renewal_of(key_id: str, old: ec.EllipticCurvePrivateKey, new: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    proof = old.sign(renewal_statement(key_id, digest_of(new.public_key())), ec.ECDSA(SHA256()))
    return {"key_id": key_id, "csr": csr_of(new), "proof": base64.b64encode(proof).decode()}


def test_a_certificate_is_renewed_before_it_ends(live: Live) -> None:
    key, new = new_key(), new_key()
    with operator(live) as boss:
        claimed = live.client.post(CLAIM, json={"token": token_of(boss), "csr": csr_of(key)}).json()
    assert claimed["renew_url"] == f"{live.url}/api/v1/device/renew"
    assert claimed["renew_from"] < claimed["expires_at"]
    request = renewal_of(claimed["key_id"], key, new)
    early = live.client.post(claimed["renew_url"], json=request)
    assert (early.status_code, early.json()["code"]) == (409, "renewal_not_due")
    with session_scope(live.engine) as session:
        row = session.scalars(select(DeviceCredential)).one()
        row.issued_at, row.expires_at = utc_now() - timedelta(days=700), utc_now() + timedelta(days=20)
    renewed = live.client.post(claimed["renew_url"], json=request)
    assert renewed.status_code == 200, renewed.text
    mine, _ = x509.load_pem_x509_certificates(renewed.json()["certificate"].encode())
    assert mine.public_key() == new.public_key()
    assert (renewed.json()["station"], renewed.json()["trust"]) == ("VB-1", claimed["trust"])
    stranger = live.client.post(claimed["renew_url"], json=renewal_of(claimed["key_id"], new, new))
    assert (stranger.status_code, stranger.json()["code"]) == (403, "renewal_refused")
    metrics = live.client.get("/metrics").text
    assert 'voltbay_device_certificates_ending{days="7"} 0.0' in metrics
    assert 'voltbay_device_certificates_ending{days="30"} 1.0' in metrics


def test_a_cabinets_life(live: Live) -> None:
    """Token, certificate, rotation, revocation, and a new board in its place; each in the audit log."""
    key, new = new_key(), new_key()
    with operator(live) as boss:
        token = token_of(boss)
        answer = live.client.post(CLAIM, json={"token": token, "csr": csr_of(key, "VB-1")})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        mine, issuing = x509.load_pem_x509_certificates(body["certificate"].encode())
        (root,) = x509.load_pem_x509_certificates(body["trust"].encode())
        mine.verify_directly_issued_by(issuing)
        issuing.verify_directly_issued_by(root)
        assert (body["station"], body["kind"], body["secret"]) == ("VB-1", "certificate", None)
        assert body["broker_url"] == "mqtts://broker.example.org:8883"
        assert body["key_id"] == mine.fingerprint(SHA256()).hex()[:16]
        other = live.client.post(CLAIM, json={"token": token, "csr": csr_of(new, "VB-1")})
        assert (other.status_code, other.json()["code"]) == (409, "claim_used")

        assert boss.http.post(f"{ADMIN}/station/VB-1/credential/rotate").status_code == 202
        with session_scope(live.engine) as session:
            command = session.scalars(select(DeviceCommand)).one()
            args = dict(command.args)
        assert args["url"] == f"{live.url}{CLAIM}"
        proof = key.sign(rotation_statement(args["token"], digest_of(new.public_key())), ec.ECDSA(SHA256()))
        turned = live.client.post(
            CLAIM, json={"token": args["token"], "csr": csr_of(new), "proof": base64.b64encode(proof).decode()}
        )
        assert turned.status_code == 200, turned.text
        shown = boss.http.get(f"{ADMIN}/station/VB-1/credential").json()
        assert [each["state"] for each in shown] == ["next", "current"]

        revoked = boss.http.post(f"{ADMIN}/station/VB-1/credential/revoke", json={"reason": "stolen"})
        assert revoked.json() == {"revoked": 2}
        assert live.client.post(CLAIM, json={"token": token, "csr": csr_of(key)}).json()["code"] == "claim_used"
        again = token_of(boss, kind="secret")
        secret = live.client.post(CLAIM, json={"token": again, "nonce": "n" * 40}).json()
        assert len(base64.urlsafe_b64decode(secret["secret"] + "=")) == 32
        assert secret["certificate"] is None
    with session_scope(live.engine) as session:
        acts = list(session.scalars(select(UserAuditLog.action).order_by(UserAuditLog.id)))
        assert acts == ["credential.token", "credential.rotate", "credential.revoke", "credential.token"]
        current = select(DeviceCredential).where(DeviceCredential.state == CredentialState.CURRENT)
        assert session.scalars(current).one().kind is CredentialKind.SECRET
        logged = "".join(str(row.detail) for row in session.scalars(select(UserAuditLog)))
        assert token not in logged


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"token": "x" * 43, "csr": "x"}, 403, "claim_refused"),
        ({"token": "x" * 43, "csr": "x", "proof": None}, 403, "claim_refused"),
        ({"token": "short", "csr": "x"}, 422, "validation_failed"),
        ({"token": "x" * 43, "csr": "x" * 5000}, 422, "validation_failed"),
        ({"token": "x" * 43, "proof": "§"}, 422, "validation_failed"),
        ({"token": "x" * 43, "key": "x"}, 422, "validation_failed"),
        ({}, 422, "validation_failed"),
    ],
)
def test_bad_claims_have_declared_answers(live: Live, body: dict[str, str | None], status: int, code: str) -> None:
    answer = live.client.post(CLAIM, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "x" * 43 not in answer.text


def test_what_operators_ask_for_wrongly(live: Live) -> None:
    with operator(live) as boss:
        nothing = boss.http.post(f"{ADMIN}/claim-token", json={"bindings": [{}]})
        nowhere = boss.http.post(f"{ADMIN}/claim-token", json={"bindings": [{"station": "NO"}]})
        unprovisioned = boss.http.post(f"{ADMIN}/station/VB-1/credential/rotate")
        assert [answer.status_code for answer in (nothing, nowhere, unprovisioned)] == [422, 404, 404]
        assert unprovisioned.json()["code"] == "not_provisioned"
