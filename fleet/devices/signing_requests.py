"""Reading what a device wants a certificate for. Nothing of a request but its key reaches the certificate."""

import hashlib
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from fleet.devices.errors import BadSigningRequest

#: One with a P-256 key has about 400 bytes of PEM.
MAX_CHARS: Final = 4096


def public_key_of(csr: str, code: str) -> ec.EllipticCurvePublicKey:
    """The key of a PKCS#10 request in PEM, proven to be the sender's. Raises BadSigningRequest.

    Expected: an EC P-256 key, a valid signature, and either no subject or the common name `code`.
    """
    request = _parsed(csr)
    key = _key_of(request)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadSigningRequest("the key is not an EC key on P-256")
    if not _signed(request):
        raise BadSigningRequest("the request is not signed by its own key")
    names = [name.value for name in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names not in ([], [code]):
        raise BadSigningRequest(f"the common name is not {code}")
    return key


def digest_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """SHA-256 of the key (SubjectPublicKeyInfo): signatures are random, so that one key has many requests."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def public_key_digest(certificate_pem: str) -> bytes:
    """`digest_of` the key of a certificate."""
    key = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return digest_of(key)


def signed_by(certificate_pem: str, signature: bytes, data: bytes) -> bool:
    """Whether the key of a certificate made this ECDSA signature (SHA-256, DER)."""
    key = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _parsed(csr: str) -> x509.CertificateSigningRequest:
    if len(csr) > MAX_CHARS:
        raise BadSigningRequest(f"longer than {MAX_CHARS} characters")
    try:
        return x509.load_pem_x509_csr(csr.encode())
    except ValueError as error:
        raise BadSigningRequest("not a PKCS#10 request in PEM") from error


def _key_of(request: x509.CertificateSigningRequest) -> object:
    try:
        return request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadSigningRequest("the key is of no kind known here") from error


def _signed(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False
