"""Where a device exchanges a claim token for its credential. Serve it over HTTPS only."""

from base64 import b64decode

from api.deps import Now, RuntimeDep, SessionDep
from api.devices.schemas import ClaimIn, ClaimOut
from api.problems import problems
from api.v1 import PREFIX, area
from firmware_protocol.signing import secret_text
from fleet.devices import authority, claims
from fleet.devices.claims import Claim, Desk
from fleet.devices.identity_models import CredentialKind
from fleet.settings import Settings

router = area("device", "devices")


def claim_url(settings: Settings) -> str:
    """Where devices reach `claim`."""
    return f"{settings.base_url}{PREFIX}/device/claim"


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
    claimed = claims.claim(session, request, desk, now)
    row, settings = claimed.credential, runtime.settings
    by_certificate = row.kind is CredentialKind.CERTIFICATE
    return ClaimOut(
        station=claimed.station,
        kind=row.kind,
        key_id=row.key_id,
        server_ms=round(now.timestamp() * 1000),
        broker_url=settings.cabinet_tls_url if by_certificate else settings.cabinet_secret_url,
        certificate=f"{row.certificate_pem}{desk.issuer.pem}" if by_certificate else None,
        expires_at=row.expires_at,
        trust=authority.roots(session) if by_certificate else None,
        secret=secret_text(claimed.secret.secret) if claimed.secret is not None else None,
    )
