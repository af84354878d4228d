"""Where a device exchanges a claim token for its credential, and renews a certificate. Serve it over HTTPS only."""

from base64 import b64decode
from datetime import datetime

from sqlalchemy.orm import Session

from api.addresses import renew_url
from api.deps import Now, RuntimeDep, SessionDep
from api.devices.schemas import ClaimIn, ClaimOut, RenewalIn
from api.problems import problems
from api.v1 import area
from firmware_protocol.signing import secret_text
from fleet.devices import authority, claims, renewal
from fleet.devices.claims import Claim
from fleet.devices.identity_models import CredentialKind
from fleet.devices.issuing import Claimed, Desk
from fleet.devices.renewal import Renewal
from fleet.settings import Settings

router = area("device", "devices")


@router.post(
    "/claim", operation_id="claim_credential", summary="Exchange a claim token for a credential, once",
    responses=problems(403, 404, 409, 422),
)  # fmt: skip
def claim(body: ClaimIn, session: SessionDep, runtime: RuntimeDep, now: Now) -> ClaimOut:
    """The same key (or nonce) gets the same answer however often it asks; another one gets nothing."""
    request = Claim(
        token=body.token.get_secret_value(),
        csr=body.csr,
        nonce=body.nonce.get_secret_value() if body.nonce is not None else None,
        hardware_serial=body.hardware_serial,
        proof=b64decode(body.proof) if body.proof is not None else None,
    )
    desk = Desk.open(session, runtime.settings, now)
    return _answer(session, claims.claim(session, request, desk, now), desk, runtime.settings, now)


@router.post(
    "/renew", operation_id="renew_certificate", summary="Get the next certificate, with the key of the one in use",
    responses=problems(403, 409, 422),
)  # fmt: skip
def renew(body: RenewalIn, session: SessionDep, runtime: RuntimeDep, now: Now) -> ClaimOut:
    """In the last third of a certificate's life. The same new key gets the same answer however often it asks."""
    request = Renewal(body.key_id, body.csr, b64decode(body.proof))
    desk = Desk.open(session, runtime.settings, now)
    return _answer(session, renewal.renew(session, request, desk, now), desk, runtime.settings, now)


def _answer(session: Session, claimed: Claimed, desk: Desk, settings: Settings, now: datetime) -> ClaimOut:
    row = claimed.credential
    by_certificate = row.kind is CredentialKind.CERTIFICATE
    return ClaimOut(
        station=claimed.station,
        kind=row.kind,
        key_id=row.key_id,
        server_ms=round(now.timestamp() * 1000),
        broker_url=settings.cabinet_tls_url if by_certificate else settings.cabinet_secret_url,
        certificate=f"{row.certificate_pem}{desk.issuer.pem}" if by_certificate else None,
        expires_at=row.expires_at,
        renew_from=renewal.renew_from(row),
        renew_url=renew_url(settings) if by_certificate else None,
        trust=authority.roots(session) if by_certificate else None,
        secret=secret_text(claimed.secret.secret) if claimed.secret is not None else None,
    )
