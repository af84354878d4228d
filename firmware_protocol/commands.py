"""What the backend says to a cabinet, whatever dialect it speaks: commands, and the control messages around them."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from firmware_protocol.limits import MAX_CONFIG_KEYS, MAX_JOURNAL_RANGES, MAX_PLAYLIST
from firmware_protocol.messages import JournalRange
from firmware_protocol.types import (
    ClockMs,
    Counter,
    CounterOrZero,
    Seconds,
    Serial,
    SlotNumber,
    Text,
)


class EjectPowerBank(Struct, frozen=True, kw_only=True, tag_field="type", tag="eject_power_bank"):
    """Release a bank by slot, by serial, or by both (then both must agree, or nothing moves)."""

    moves_metal: ClassVar[bool] = True
    slot: SlotNumber | None = None
    serial: Serial | None = None

    def __post_init__(self) -> None:
        if self.slot is None and self.serial is None:
            raise ValueError("an eject names a slot, a serial, or both")


class LockSlot(Struct, frozen=True, kw_only=True, tag_field="type", tag="lock_slot"):
    moves_metal: ClassVar[bool] = False
    slot: SlotNumber


class UnlockSlot(Struct, frozen=True, kw_only=True, tag_field="type", tag="unlock_slot"):
    moves_metal: ClassVar[bool] = False
    slot: SlotNumber


class QueryInventory(Struct, frozen=True, kw_only=True, tag_field="type", tag="query_inventory"):
    moves_metal: ClassVar[bool] = False


class SetConfig(Struct, frozen=True, kw_only=True, tag_field="type", tag="set_config"):
    moves_metal: ClassVar[bool] = False
    version: Counter
    values: Annotated[dict[str, str | int | float | bool | None], Meta(max_length=MAX_CONFIG_KEYS)]


class GetConfig(Struct, frozen=True, kw_only=True, tag_field="type", tag="get_config"):
    moves_metal: ClassVar[bool] = False


class Reboot(Struct, frozen=True, kw_only=True, tag_field="type", tag="reboot"):
    moves_metal: ClassVar[bool] = False


class SetVolume(Struct, frozen=True, kw_only=True, tag_field="type", tag="set_volume"):
    moves_metal: ClassVar[bool] = False
    volume_pct: Annotated[int, Meta(ge=0, le=100)]


class PlaySound(Struct, frozen=True, kw_only=True, tag_field="type", tag="play_sound"):
    moves_metal: ClassVar[bool] = False
    sound: Text


class PlaylistEntry(Struct, frozen=True, kw_only=True):
    url: Annotated[str, Meta(max_length=2048)]
    seconds: Annotated[int, Meta(ge=1, le=3600)]


class ShowScreen(Struct, frozen=True, kw_only=True, tag_field="type", tag="show_screen"):
    moves_metal: ClassVar[bool] = False
    qr: Text | None = None
    playlist: Annotated[tuple[PlaylistEntry, ...], Meta(max_length=MAX_PLAYLIST)] = ()


class UpdateFirmware(Struct, frozen=True, kw_only=True, tag_field="type", tag="update_firmware"):
    """`manifest` is the signed release manifest, byte for byte as it was signed."""

    moves_metal: ClassVar[bool] = False
    manifest: Annotated[bytes, Meta(max_length=16 * 1024)]
    url: Annotated[str, Meta(max_length=2048)]


class CollectLogs(Struct, frozen=True, kw_only=True, tag_field="type", tag="collect_logs"):
    moves_metal: ClassVar[bool] = False
    request_id: Text
    since_ms: ClockMs | None = None


class RotateCredential(Struct, frozen=True, kw_only=True, tag_field="type", tag="rotate_credential"):
    moves_metal: ClassVar[bool] = False
    url: Annotated[str, Meta(max_length=2048)]
    token: Text


class SetNetwork(Struct, frozen=True, kw_only=True, tag_field="type", tag="set_network"):
    moves_metal: ClassVar[bool] = False
    apn: Text | None = None
    wifi_ssid: Text | None = None
    wifi_password: Text | None = None


Command = (
    EjectPowerBank
    | LockSlot
    | UnlockSlot
    | QueryInventory
    | SetConfig
    | GetConfig
    | Reboot
    | SetVolume
    | PlaySound
    | ShowScreen
    | UpdateFirmware
    | CollectLogs
    | RotateCredential
    | SetNetwork
)


class CommandFrame(Struct, frozen=True, kw_only=True):
    """One command with what every command carries.

    `deadline_ms` is on the backend's clock, which the cabinet knows from `Welcome`. A cabinet that has already carried
    out `command_id` answers with the remembered result and moves nothing.
    """

    command_id: str
    deadline_ms: ClockMs
    attempt: Counter
    command: Command


class Welcome(Struct, frozen=True, kw_only=True, tag_field="type", tag="welcome"):
    """Opens the boot gate, or with `retry_after_s` asks the cabinet to send `Booted` again later.

    `boot_floor`: the highest boot the backend has seen from this cabinet before this start. A cabinet that lost its
    counter (worn flash) continues above it.
    """

    epoch: Counter
    server_ms: ClockMs
    heartbeat_s: Annotated[int, Meta(ge=1, le=86_400)]
    telemetry_s: Annotated[int, Meta(ge=1, le=86_400)]
    config_version: CounterOrZero = 0
    boot_floor: CounterOrZero = 0
    retry_after_s: Seconds | None = None


class Ack(Struct, frozen=True, kw_only=True, tag_field="type", tag="ack"):
    """Events of `boot` up to and including `through` are stored; the cabinet may forget them."""

    boot: Counter
    through: CounterOrZero


class Resend(Struct, frozen=True, kw_only=True, tag_field="type", tag="resend"):
    """Send these events again; answer `JournalLost` for those that are gone."""

    ranges: Annotated[tuple[JournalRange, ...], Meta(min_length=1, max_length=MAX_JOURNAL_RANGES)]


Control = Welcome | Ack | Resend
