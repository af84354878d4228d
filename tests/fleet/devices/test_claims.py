import base64
import hashlib
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from firmware_protocol.signing import rotation_proof, rotation_statement
from fleet.common.errors import Forbidden, InvalidInput
from fleet.common.vault import Unreadable, Vault
from fleet.devices import authority, claim_tokens, claims, credentials
from fleet.devices.claim_tokens import Binding
from fleet.devices.claims import Claim
from fleet.devices.errors import (
    AlreadyProvisioned,
    BadSigningRequest,
    ClaimExpired,
    ClaimRefused,
    ClaimUsed,
    NotAssigned,
    NotProvisioned,
)
from fleet.devices.identity_models import ClaimToken, CredentialKind, CredentialState, DeviceAuthority, DeviceCredential
from fleet.devices.issuing import Claimed, Desk
from fleet.devices.signing_requests import digest_of
from fleet.stations.errors import StationNotFound
from fleet.stations.models import Station
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.parallel import together, wide_engine

VAULT = Vault(b"k" * 32)
LIFE = timedelta(days=730)
HOUR = timedelta(hours=1)
Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def csr_of(key: Key | rsa.RSAPrivateKey, *names: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()


@pytest.fixture
def station(session: Session, now: datetime) -> Station:
    return add_station(session, now, "VB-1")


@pytest.fixture
def desk(session: Session, now: datetime) -> Desk:
    return Desk(authority.issuer(session, VAULT, now), VAULT, LIFE)


def token_for(session: Session, now: datetime, binding: Binding | None = None, **options: object) -> str:
    chosen: dict[str, object] = {"kind": CredentialKind.CERTIFICATE, "expires_at": now + HOUR, **options}
    made = claim_tokens.create_batch(session, [binding or Binding("VB-1")], now=now, **chosen)  # type: ignore[arg-type]
    return made[0].token


def state_of(claimed: Claimed) -> CredentialState:
    return claimed.credential.state


def certificate_of(claimed: Claimed) -> x509.Certificate:
    assert claimed.credential.certificate_pem is not None
    return x509.load_pem_x509_certificate(claimed.credential.certificate_pem.encode())


def test_a_token_becomes_a_certificate_of_the_fleet(
    session: Session, station: Station, desk: Desk, now: datetime
) -> None:
    key = new_key()
    claimed = claims.claim(session, Claim(token_for(session, now), csr_of(key, "VB-1")), desk, now)
    certificate = certificate_of(claimed)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert ([name.value for name in names], len(list(certificate.subject))) == (["VB-1"], 1)
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(desk.issuer.certificate)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert certificate.not_valid_after_utc == now + LIFE
    row = claimed.credential
    assert (row.station_id, row.username, row.state) == (station.id, "VB-1", CredentialState.CURRENT)


@pytest.mark.usefixtures("station")
def test_the_same_key_gets_the_same_certificate_and_another_nothing(
    session: Session, desk: Desk, now: datetime
) -> None:
    token, key = token_for(session, now), new_key()
    first = claims.claim(session, Claim(token, csr_of(key, "VB-1")), desk, now)
    # The signature of a request is random: the same key makes other bytes. Long after the token would have expired.
    again = claims.claim(session, Claim(token, csr_of(key, "VB-1")), desk, now + 2 * HOUR)
    assert again.credential.certificate_pem == first.credential.certificate_pem
    with pytest.raises(ClaimUsed):
        claims.claim(session, Claim(token, csr_of(new_key(), "VB-1")), desk, now)
    credentials.revoke_all(session, first.credential.station_id, "stolen", now)
    with pytest.raises(ClaimUsed):
        claims.claim(session, Claim(token, csr_of(key, "VB-1")), desk, now)


@pytest.mark.usefixtures("station")
def test_a_secret_is_told_again_for_the_same_nonce(session: Session, desk: Desk, now: datetime) -> None:
    token = token_for(session, now, kind=CredentialKind.SECRET)
    first = claims.claim(session, Claim(token, nonce="n" * 32), desk, now)
    again = claims.claim(session, Claim(token, nonce="n" * 32), desk, now)
    assert first.secret is not None
    assert again.secret == first.secret
    assert first.secret.signs
    with pytest.raises(ClaimUsed):
        claims.claim(session, Claim(token, nonce="m" * 32), desk, now)
    with pytest.raises(InvalidInput):
        claims.claim(session, Claim(token, nonce="short"), desk, now)


@pytest.mark.usefixtures("station")
def test_only_the_hash_of_a_token_is_kept(session: Session, now: datetime) -> None:
    token = token_for(session, now)
    row = session.scalars(select(ClaimToken)).one()
    assert token not in repr({column.key: getattr(row, column.key) for column in ClaimToken.__table__.columns})


@pytest.mark.usefixtures("station")
def test_an_expired_an_unknown_and_a_foreign_token(session: Session, desk: Desk, now: datetime) -> None:
    token, csr = token_for(session, now), csr_of(new_key(), "VB-1")
    with pytest.raises(ClaimExpired):
        claims.claim(session, Claim(token, csr), desk, now + HOUR)
    with pytest.raises(ClaimRefused):
        claims.claim(session, Claim("x" * 43, csr), desk, now)
    bound = token_for(session, now, Binding("VB-1", "SN-7"))
    for serial in (None, "SN-8"):
        with pytest.raises(ClaimRefused):
            claims.claim(session, Claim(bound, csr, hardware_serial=serial), desk, now)
    claims.claim(session, Claim(bound, csr, hardware_serial="SN-7"), desk, now)


@pytest.mark.usefixtures("station")
@pytest.mark.parametrize(
    "csr",
    [
        "",
        "not a request",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        csr_of(new_key(), "VB-2"),
        csr_of(new_key(), "VB-1", "VB-2"),
        csr_of(ec.generate_private_key(ec.SECP384R1()), "VB-1"),
        csr_of(rsa.generate_private_key(65537, 2048), "VB-1"),
        csr_of(new_key(), "VB-1") + "x" * 5000,
    ],
    ids=["empty", "words", "rubbish", "foreign", "two names", "P-384", "RSA", "long"],
)
def test_a_bad_request_costs_no_token(session: Session, desk: Desk, now: datetime, csr: str) -> None:
    token = token_for(session, now)
    with pytest.raises(BadSigningRequest):
        claims.claim(session, Claim(token, csr), desk, now)
    claims.claim(session, Claim(token, csr_of(new_key(), "VB-1")), desk, now)


@pytest.mark.usefixtures("station")
def test_a_forged_request_costs_no_token(session: Session, desk: Desk, now: datetime) -> None:
    """Somebody else's key, with a signature that its owner never made."""
    token = token_for(session, now)
    lines = csr_of(new_key(), "VB-1").splitlines()
    der = bytearray(x509.load_pem_x509_csr("\n".join(lines).encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    body = base64.encodebytes(bytes(der)).decode()
    forged = f"{lines[0]}\n{body}{lines[-1]}\n"
    with pytest.raises(BadSigningRequest):
        claims.claim(session, Claim(token, forged), desk, now)
    assert session.scalar(select(func.count()).select_from(DeviceCredential)) == 0


@pytest.mark.usefixtures("station")
def test_provisioning_again_needs_an_operator(session: Session, desk: Desk, now: datetime) -> None:
    spare = token_for(session, now)
    first = claims.claim(session, Claim(token_for(session, now), csr_of(new_key())), desk, now)
    with pytest.raises(AlreadyProvisioned):
        claims.claim(session, Claim(spare, csr_of(new_key())), desk, now)
    with pytest.raises(AlreadyProvisioned):
        token_for(session, now)
    replacing = token_for(session, now, replace=True)
    assert state_of(first) is CredentialState.CURRENT
    second = claims.claim(session, Claim(replacing, csr_of(new_key())), desk, now)
    assert (first.credential.state, first.credential.cut_at) == (CredentialState.REVOKED, None)
    assert state_of(second) is CredentialState.CURRENT


def test_hardware_is_claimed_before_it_has_a_station(session: Session, desk: Desk, now: datetime) -> None:
    token = token_for(session, now, Binding(hardware_serial="SN-9"))
    request = Claim(token, csr_of(new_key()), hardware_serial="SN-9")
    with pytest.raises(NotAssigned):
        claims.claim(session, request, desk, now)
    station = add_station(session, now, "VB-9", hardware_id="SN-9")
    assert claims.claim(session, request, desk, now).station == "VB-9"
    # The token keeps the station it was used for.
    station.hardware_id = None
    session.flush()
    assert claims.claim(session, request, desk, now).station == "VB-9"


def test_batches_are_bounded_and_name_known_stations(session: Session, now: datetime) -> None:
    with pytest.raises(StationNotFound):
        token_for(session, now, Binding("nowhere"))
    with pytest.raises(InvalidInput):
        token_for(session, now, Binding(hardware_serial="S"), expires_at=now)
    with pytest.raises(InvalidInput):
        claim_tokens.create_batch(session, [], kind=CredentialKind.SECRET, expires_at=now + HOUR, now=now)


def rotate(session: Session, station: Station, now: datetime) -> str:
    return claim_tokens.rotation_token(session, station.id, expires_at=now + HOUR, now=now)


def proof_of(old: Key, token: str, new: Key) -> bytes:
    return old.sign(rotation_statement(token, digest_of(new.public_key())), ec.ECDSA(SHA256()))


def test_the_new_certificate_is_good_beside_the_old_until_it_is_seen(
    session: Session, station: Station, desk: Desk, now: datetime
) -> None:
    old, new = new_key(), new_key()
    first = claims.claim(session, Claim(token_for(session, now), csr_of(old)), desk, now).credential
    assert credentials.confirm(session, station.id, first.key_id, now)
    token = rotate(session, station, now)
    second = claims.claim(session, Claim(token, csr_of(new), proof=proof_of(old, token, new)), desk, now).credential
    assert (first.state, second.state) == (CredentialState.CURRENT, CredentialState.NEXT)
    # The old one in use once more changes nothing, an invented one neither.
    assert not credentials.confirm(session, station.id, first.key_id, now)
    assert not credentials.confirm(session, station.id, "invented", now)
    assert credentials.confirm(session, station.id, second.key_id, now)
    assert not credentials.confirm(session, station.id, second.key_id, now)
    session.refresh(first)
    session.refresh(second)
    assert (first.state, second.state) == (CredentialState.REVOKED, CredentialState.CURRENT)
    assert first.revoked_reason == credentials.SUPERSEDED
    # Once revoked, always revoked.
    assert not credentials.confirm(session, station.id, first.key_id, now)


def test_a_rotation_needs_the_old_key(session: Session, station: Station, desk: Desk, now: datetime) -> None:
    old, new, thief = new_key(), new_key(), new_key()
    claims.claim(session, Claim(token_for(session, now), csr_of(old)), desk, now)
    token = rotate(session, station, now)
    for proof in (None, b"", proof_of(thief, token, thief), proof_of(old, token, new), proof_of(old, "other", thief)):
        with pytest.raises(ClaimRefused):
            claims.claim(session, Claim(token, csr_of(thief), proof=proof), desk, now)
    claims.claim(session, Claim(token, csr_of(new), proof=proof_of(old, token, new)), desk, now)


def test_a_second_rotation_ends_the_first(session: Session, station: Station, desk: Desk, now: datetime) -> None:
    old, new, newer = new_key(), new_key(), new_key()
    claims.claim(session, Claim(token_for(session, now), csr_of(old)), desk, now)
    unused, token = rotate(session, station, now), rotate(session, station, now)
    with pytest.raises(Forbidden):
        claims.claim(session, Claim(unused, csr_of(new), proof=proof_of(old, unused, new)), desk, now)
    first = claims.claim(session, Claim(token, csr_of(new), proof=proof_of(old, token, new)), desk, now).credential
    token = rotate(session, station, now)
    second = claims.claim(session, Claim(token, csr_of(newer), proof=proof_of(old, token, newer)), desk, now)
    session.refresh(first)
    assert (first.state, state_of(second)) == (CredentialState.REVOKED, CredentialState.NEXT)


def test_a_secret_rotates_with_its_own_proof(session: Session, station: Station, desk: Desk, now: datetime) -> None:
    token = token_for(session, now, kind=CredentialKind.SECRET)
    first = claims.claim(session, Claim(token, nonce="n" * 32), desk, now).secret
    assert first is not None
    token, digest = rotate(session, station, now), hashlib.sha256(b"m" * 32).digest()
    with pytest.raises(ClaimRefused):
        claims.claim(session, Claim(token, nonce="m" * 32, proof=b"guess"), desk, now)
    proof = rotation_proof(first.secret, token, digest)
    second = claims.claim(session, Claim(token, nonce="m" * 32, proof=proof), desk, now)
    assert second.secret is not None
    assert second.secret.secret != first.secret


def test_nothing_to_rotate(session: Session, station: Station, now: datetime) -> None:
    with pytest.raises(NotProvisioned):
        rotate(session, station, now)


def test_fifty_devices_and_one_token(clean_database: Database, now: datetime) -> None:
    with Session(clean_database.engine, expire_on_commit=False) as session, session.begin():
        add_station(session, now, "VB-1")
        desk = Desk(authority.issuer(session, VAULT, now), VAULT, LIFE)
        token = token_for(session, now)
    keys = [new_key() for _ in range(5)]
    with wide_engine(clean_database.url, 25) as engine:

        def ask(number: int) -> str | None:
            with Session(engine) as session, session.begin():
                request = Claim(token, csr_of(keys[number % 5], "VB-1"))
                return claims.claim(session, request, desk, now).credential.certificate_pem

        answers = together(50, ask)
    given = [answer for answer in answers if isinstance(answer, str)]
    assert (len(given), len(set(given))) == (10, 1)
    assert all(isinstance(answer, ClaimUsed) for answer in answers if not isinstance(answer, str))
    with Session(clean_database.engine) as session:
        assert session.scalar(select(func.count()).select_from(DeviceCredential)) == 1


def test_twenty_processes_make_one_authority(clean_database: Database, now: datetime) -> None:
    with wide_engine(clean_database.url, 20) as engine:

        def ask(_number: int) -> bytes:
            with Session(engine) as session, session.begin():
                return authority.issuer(session, VAULT, now).certificate.fingerprint(SHA256())

        assert len(set(together(20, ask))) == 1
    with Session(clean_database.engine) as session:
        assert session.scalar(select(func.count()).select_from(DeviceAuthority)) == 2
        with pytest.raises(Unreadable):
            authority.issuer(session, Vault(b"x" * 32), now)


def test_the_authority_is_a_chain_that_may_sign_no_further(session: Session, desk: Desk) -> None:
    issuing, root = x509.load_pem_x509_certificates(authority.chain(session).encode())
    assert authority.roots(session).encode() == root.public_bytes(Encoding.PEM)
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert issuing == desk.issuer.certificate
    assert issuing.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_every_list_of_revocations_is_newer_than_the_one_before_and_of_no_time_to_come(
    desk: Desk, now: datetime
) -> None:
    first, second = (
        x509.load_pem_x509_crl(desk.issuer.revocations(revoked, number).encode())
        for number, revoked in enumerate(([("ff", now)], [("ff", now), ("a0", now)]), start=1)
    )
    assert first.is_signature_valid(desk.issuer.key.public_key())
    assert first.last_update_utc < second.last_update_utc < now
    assert [entry.serial_number for entry in second] == [255, 160]
    assert second.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2
