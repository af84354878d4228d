"""Keys, releases and stations that answer as they are told to."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.firmware import example, trust
from firmware_protocol.firmware.documents import Image, Release, Root, read_root, unsigned
from firmware_protocol.firmware.envelope import sign, write_envelope
from firmware_protocol.messages import CommandResult
from firmware_protocol.types import CommandOutcome
from fleet.devices.commands import settle_command
from fleet.devices.firmware import releases, rollouts, sweep
from fleet.devices.firmware.models import (
    FirmwareRelease,
    FirmwareRollout,
    FirmwareRolloutTarget,
    ReleaseState,
    RolloutState,
    TargetState,
)
from fleet.devices.firmware.rollouts import GroupSpec
from fleet.devices.firmware.rules import Action
from fleet.devices.models import CommandState, DeviceCommand, DeviceSession
from fleet.stations.models import Station
from tests.factories import add_station

ROOT = read_root(example.ROOT)
A, B, C = example.SIGNERS
IMAGE = b"firmware " * 1000
HARDWARE = "CAB8"
OLD, NEW = "1.0.0", "1.1.0"


def signed(document: Root | Release, *keys: Ed25519PrivateKey) -> bytes:
    envelope = unsigned(document)
    for key in keys or (A, B):
        envelope = sign(envelope, key)
    return write_envelope(envelope)


def a_release(now: datetime, **changes: Any) -> Release:
    ms = round(now.timestamp() * 1000)
    release = Release(
        version=NEW,
        counter=7,
        hardware=(HARDWARE,),
        issued_ms=ms - 1000,
        expires_ms=ms + 90 * 86_400_000,
        image=Image(size=len(IMAGE), sha256=trust.digest(IMAGE)),
    )
    return replace(release, **changes)


class Scene:
    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self.now = now
        self.epoch = 0
        root = replace(ROOT, expires_ms=round(now.timestamp() * 1000) + 10**10)
        releases.add_root(session, signed(root), now)

    def release(self, **changes: Any) -> FirmwareRelease:
        row = releases.add_release(self.session, signed(a_release(self.now, **changes)), self.now)
        row.state = ReleaseState.READY  # as if its image had been brought
        return row

    def station(self, code: str, *, hardware: str = HARDWARE, firmware: str = OLD) -> int:
        station = add_station(self.session, self.now, code)
        self.boots(station.id, firmware, hardware=hardware, cause="power_on")
        return station.id

    def boots(self, station: int, firmware: str, *, hardware: str = HARDWARE, cause: str = "update") -> None:
        self.epoch += 1
        self.session.add(
            DeviceSession(
                station_id=station, epoch=self.epoch, boot=self.epoch, firmware=firmware, hardware=hardware,
                reset_cause=cause, boot_floor=0, connected_at=self.now, last_seen_at=self.now, ended_at=self.now,
                cause="superseded",
            )
        )  # fmt: skip
        self.session.get_one(Station, station).firmware_version = firmware
        self.session.flush()

    def rollout(self, *specs: GroupSpec, approve: bool = True, **how: Any) -> FirmwareRollout:
        release = how.pop("release", None) or self.release()
        made = rollouts.create(
            self.session,
            release_id=release.id,
            name="test",
            specs=specs,
            now=self.now,
            **{"per_minute": 6000, "failure_pct": 20, **how},
        )
        if approve:
            self.steer(made, Action.APPROVE)
        return made

    def steer(self, rollout: FirmwareRollout, action: Action, **how: Any) -> RolloutState:
        return rollouts.steer(self.session, rollout.id, action, self.now, actor_id=None, **how).state

    def sweep(self, after: timedelta = timedelta(seconds=2)) -> int:
        self.now += after
        return sweep.sweep(
            self.session, self.now, lambda release, station, until: f"http://{station}/{release}/{until}"
        )

    def target(self, rollout: FirmwareRollout, station: int) -> FirmwareRolloutTarget:
        return self.session.get_one(FirmwareRolloutTarget, (rollout.id, station), populate_existing=True)

    def state(self, rollout: FirmwareRollout) -> RolloutState:
        return rollout.state

    def states(self, rollout: FirmwareRollout) -> list[TargetState]:
        """In order of station."""
        query = select(FirmwareRolloutTarget.state).where(FirmwareRolloutTarget.rollout_id == rollout.id)
        return list(self.session.scalars(query.order_by(FirmwareRolloutTarget.station_id)))

    def offers(self, station: int) -> Sequence[DeviceCommand]:
        query = select(DeviceCommand).where(
            DeviceCommand.station_id == station, DeviceCommand.kind == "update_firmware"
        )
        return self.session.scalars(query.order_by(DeviceCommand.id)).all()

    def answers(
        self, station: int, outcome: CommandOutcome = CommandOutcome.SUCCEEDED, code: str | None = None
    ) -> None:
        command = self.offers(station)[-1]
        command.state = CommandState.SENT
        settle_command(
            self.session,
            str(command.id),
            CommandResult(command_id=str(command.id), outcome=outcome, code=code),
            self.now,
        )

    def updates(self, station: int) -> None:
        """As a good cabinet."""
        self.answers(station)
        self.now += timedelta(seconds=1)
        self.boots(station, NEW)
