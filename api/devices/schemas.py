import binascii
from base64 import b64decode
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from api.schemas import Input, Instant, Schema
from fleet.devices.identity_models import CredentialKind
from fleet.devices.signing_requests import MAX_CHARS

_CSR = "-----BEGIN CERTIFICATE REQUEST-----\nMIHo…\n-----END CERTIFICATE REQUEST-----\n"


def _base64(text: str) -> str:
    try:
        b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64 (RFC 4648, section 4)") from error
    return text


class ClaimIn(Input):
    """`csr` for a certificate, or `nonce` for a secret, as the token was made for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"token": "k3Jx…", "csr": _CSR}]})

    token: Annotated[SecretStr, Field(min_length=20, max_length=100)]
    csr: Annotated[str | None, Field(max_length=MAX_CHARS, description="PKCS#10 in PEM, EC P-256")] = None
    nonce: Annotated[
        SecretStr | None, Field(min_length=32, max_length=128, description="random, kept for a repetition")
    ] = None
    hardware_serial: Annotated[str | None, Field(max_length=64)] = None
    proof: Annotated[
        str | None, Field(max_length=200, description="rotation: base64, made with the credential in force"),
        AfterValidator(_base64),
    ] = None  # fmt: skip


class ClaimOut(Schema):
    """A credential, and where it is used."""

    station: Annotated[str, Field(description="the station's code: user name, and the level of the topics")]
    kind: CredentialKind
    key_id: Annotated[str, Field(description="goes into `booted.credential` of every session that uses it")]
    server_ms: Annotated[int, Field(description="the backend's clock")]
    broker_url: Annotated[str | None, Field(description="where to connect with it; null: as configured")]
    certificate: Annotated[str | None, Field(description="PEM, the certificate and its issuer")]
    expires_at: Instant | None
    trust: Annotated[str | None, Field(description="PEM of the fleet's own roots, beside those built in")]
    secret: Annotated[str | None, Field(description="base64url of 32 bytes; signs every frame")]
