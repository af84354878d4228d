"""Whose HTTP call it is: native cabinets sign what they ask with the credential in force (docs/protocol.md, 20)."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.signing import call_mac, same
from fleet.common.vault import Vault
from fleet.devices import credentials
from fleet.devices.errors import CallRefused
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.signing_requests import signed_by
from fleet.stations.models import Station


@dataclass(frozen=True, slots=True)
class Proof:
    """Who says that it calls, and the signature of the statement that the call makes."""

    station: str
    key_id: str
    signature: bytes = field(repr=False)


def caller(session: Session, proof: Proof, statement: bytes, vault: Vault, now: datetime) -> int:
    """The station (id) that signed `statement`. Raises CallRefused, for whatever reason with the same words.

    `vault`: of `credentials.PURPOSE`.
    """
    query = (
        select(DeviceCredential)
        .join(Station, Station.id == DeviceCredential.station_id)
        .where(Station.code == proof.station, DeviceCredential.key_id == proof.key_id)
        .where(DeviceCredential.state.in_((CredentialState.CURRENT, CredentialState.NEXT)))
    )
    credential = session.scalars(query).one_or_none()
    if credential is None or not _fits(credential, proof.signature, statement, vault, now):
        raise CallRefused("not signed with a credential in force of this station")
    return credential.station_id


def _fits(credential: DeviceCredential, signature: bytes, statement: bytes, vault: Vault, now: datetime) -> bool:
    if credential.expires_at is not None and credential.expires_at <= now:
        return False
    if credential.kind is CredentialKind.CERTIFICATE:
        assert credential.certificate_pem is not None
        return signed_by(credential.certificate_pem, signature, statement)
    # A secret that does not sign frames is a password, which others may have read on its way.
    return credential.signs and same(call_mac(credentials.told(vault, credential).secret, statement), signature)
