"""Keys of devices that sign their frames, and which of their counters have been used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from firmware_protocol.signing import SECRET_BYTES, signing_key
from fleet.common.vault import Vault
from fleet.devices.identity_models import CredentialState, DeviceCredential, SignatureWindow
from fleet.stations.models import Station

#: Counters below the highest one that may still come: several gateways take a cabinet's frames out of order.
WINDOW: Final = 1024
#: A station, and the kind of the topic.
Key = tuple[int, str]


@dataclass(slots=True)
class Window:
    """Which counters of one boot were used. Each is good once, and those of an earlier boot never."""

    boot: int = 0
    seq: int = 0
    #: Bit n stands for seq - n.
    seen: int = 0

    def accept(self, boot: int, seq: int) -> bool:
        """Use a counter; False when it was used before, or is too old to tell."""
        if boot > self.boot:
            self.boot, self.seq, self.seen = boot, seq, 1
            return True
        behind = self.seq - seq
        if boot < self.boot or behind >= WINDOW:
            return False
        if behind < 0:
            # What falls out of the window is not shifted: a counter may jump by 2^60.
            self.seen = (self.seen << -behind if -behind < WINDOW else 0) & ((1 << WINDOW) - 1) | 1
            self.seq = seq
            return True
        if self.seen >> behind & 1:
            return False
        self.seen |= 1 << behind
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    station_id: int
    key_id: str
    key: bytes
    #: In force: what the backend signs with. The other one is good too, until it takes over.
    current: bool
    confirmed: bool


def version(session: Session) -> tuple[int, ...]:
    """Another one whenever `signing_keys` would give another answer."""
    row = session.execute(
        select(
            func.coalesce(func.max(DeviceCredential.id), 0),
            func.count().filter(DeviceCredential.state == CredentialState.CURRENT),
            func.count().filter(DeviceCredential.state == CredentialState.NEXT),
            func.count(DeviceCredential.confirmed_at),
        )
    ).one()
    return tuple(row)


def signing_keys(session: Session, vault: Vault) -> dict[str, list[SigningKey]]:
    """Keys of the stations that must sign, by code; none for one whose secret was revoked and not replaced.

    Who was given a secret to sign with signs until something else is given out: a revocation opens no door.
    """
    newest = select(func.max(DeviceCredential.id)).group_by(DeviceCredential.station_id)
    must = select(DeviceCredential.station_id).where(DeviceCredential.id.in_(newest), DeviceCredential.signs)
    query = (
        select(Station.code, DeviceCredential)
        .join(Station, Station.id == DeviceCredential.station_id)
        .where(DeviceCredential.signs, DeviceCredential.station_id.in_(must))
    )
    found: dict[str, list[SigningKey]] = {}
    for code, row in session.execute(query):
        keys = found.setdefault(code, [])
        if row.state is not CredentialState.REVOKED:
            secret = _secret(vault, row)
            current = row.state is CredentialState.CURRENT
            keys.append(
                SigningKey(row.station_id, row.key_id, signing_key(secret), current, row.confirmed_at is not None)
            )
    return found


def _secret(vault: Vault, row: DeviceCredential) -> bytes:
    assert row.sealed_secret is not None
    return vault.open_or_any(row.sealed_secret, row.key_id, SECRET_BYTES)


def lock_windows(session: Session, keys: Iterable[Key]) -> dict[Key, Window]:
    """The windows of these, locked in their order; take no other lock before in the same transaction."""
    wanted = sorted(set(keys))
    rows = [{"station_id": station, "kind": kind, "boot": 0, "seq": 0, "seen": b""} for station, kind in wanted]
    session.execute(insert(SignatureWindow).on_conflict_do_nothing(), rows)
    query = (
        select(SignatureWindow)
        .where(tuple_(SignatureWindow.station_id, SignatureWindow.kind).in_(wanted))
        .order_by(SignatureWindow.station_id, SignatureWindow.kind)
        .with_for_update()
    )
    return {
        (row.station_id, row.kind): Window(row.boot, row.seq, int.from_bytes(row.seen))
        for row in session.scalars(query)
    }


def save_windows(session: Session, windows: Mapping[Key, Window]) -> None:
    for (station_id, kind), window in windows.items():
        row = session.get_one(SignatureWindow, (station_id, kind))
        row.boot, row.seq, row.seen = window.boot, window.seq, window.seen.to_bytes(WINDOW // 8)
    session.flush()  # before the transaction ends, whoever ends it
