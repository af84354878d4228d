import binascii
from base64 import b64decode
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from api.schemas import Input, Instant, Schema
from fleet.devices.identity_models import CredentialKind
from fleet.devices.logs.models import LogState
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
        Annotated[str, Field(max_length=200), AfterValidator(_base64)] | None,
        Field(description="rotation: base64, made with the credential in force"),
    ] = None


class RenewalIn(Input):
    """What a cabinet asks for the next certificate with."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key_id": "9f86d081884c7d65", "csr": _CSR, "proof": "MEUCIQ…"}]}
    )

    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", description="of the certificate in use")]
    csr: Annotated[str, Field(max_length=MAX_CHARS, description="PKCS#10 in PEM, EC P-256, of a new key")]
    proof: Annotated[
        str, Field(max_length=200, description="base64, made with the key in use"), AfterValidator(_base64)
    ]


class LogProgressOut(Schema):
    """`complete`, `truncated` (more came than is kept): send no more. `missing`: the first that lack."""

    state: LogState
    pieces: int
    size: Annotated[int, Field(description="bytes that are here")]
    missing: list[int]


class ClaimOut(Schema):
    """A credential, and where it is used."""

    station: Annotated[str, Field(description="the station's code: user name, and the level of the topics")]
    kind: CredentialKind
    key_id: Annotated[str, Field(description="goes into `booted.credential` of every session that uses it")]
    server_ms: Annotated[int, Field(description="the backend's clock")]
    broker_url: Annotated[str | None, Field(description="where to connect with it; null: as configured")]
    certificate: Annotated[str | None, Field(description="PEM, the certificate and its issuer")]
    expires_at: Instant | None
    renew_from: Annotated[Instant | None, Field(description="from when on a certificate is to be renewed")]
    renew_url: Annotated[str | None, Field(description="where it is renewed")]
    trust: Annotated[str | None, Field(description="PEM of the fleet's own roots, beside those built in")]
    secret: Annotated[str | None, Field(description="base64url of 32 bytes; signs every frame")]
