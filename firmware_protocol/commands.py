"""What the backend says to a cabinet, whatever dialect it speaks: commands, and the control messages around them."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from firmware_protocol.limits import (
    MAX_CONFIG_KEYS,
    MAX_JOURNAL_RANGES,
    MAX_LOG_CHUNKS,
    MAX_LOG_INDEXES,
    MAX_MANIFEST_BYTES,
    MAX_PLAYLIST,
)
from firmware_protocol.messages import JournalRange
from firmware_protocol.types import (
    ClockMs,
    CommandId,
    ConfigValue,
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
    """Take a slot out of use: it takes no bank and gives none."""

    moves_metal: ClassVar[bool] = False
    slot: SlotNumber


class UnlockSlot(Struct, frozen=True, kw_only=True, tag_field="type", tag="unlock_slot"):
    """Take a slot into use again."""

    moves_metal: ClassVar[bool] = False
    slot: SlotNumber


class QueryInventory(Struct, frozen=True, kw_only=True, tag_field="type", tag="query_inventory"):
    """Ask for a complete `inventory` that carries this command's id."""

    moves_metal: ClassVar[bool] = False


class SetConfig(Struct, frozen=True, kw_only=True, tag_field="type", tag="set_config"):
    """Replace the configuration keys named; the others stay; null gives a key back to the cabinet's own default.

    Answered by `config_report`, then the result.
    """

    moves_metal: ClassVar[bool] = False
    version: Annotated[Counter, Meta(description="rises with every change; an older one is refused as invalid")]
    values: Annotated[dict[str, ConfigValue], Meta(max_length=MAX_CONFIG_KEYS)]


class GetConfig(Struct, frozen=True, kw_only=True, tag_field="type", tag="get_config"):
    """Ask for a `config_report`."""

    moves_metal: ClassVar[bool] = False


class Reboot(Struct, frozen=True, kw_only=True, tag_field="type", tag="reboot"):
    """Restart the firmware. The result is journaled before the restart."""

    moves_metal: ClassVar[bool] = False


class SetVolume(Struct, frozen=True, kw_only=True, tag_field="type", tag="set_volume"):
    """Loudness of the cabinet's sounds."""

    moves_metal: ClassVar[bool] = False
    volume_pct: Annotated[int, Meta(ge=0, le=100)]


class PlaySound(Struct, frozen=True, kw_only=True, tag_field="type", tag="play_sound"):
    """Play one of the sounds stored in the cabinet."""

    moves_metal: ClassVar[bool] = False
    sound: Annotated[Text, Meta(description="name of a stored sound")]


class PlaylistEntry(Struct, frozen=True, kw_only=True):
    """One advert and how long it is shown."""

    url: Annotated[str, Meta(max_length=2048)]
    seconds: Annotated[int, Meta(ge=1, le=3600)]


class ShowScreen(Struct, frozen=True, kw_only=True, tag_field="type", tag="show_screen"):
    """What the screen shows: a QR code, a playlist of adverts, both or neither (blank)."""

    moves_metal: ClassVar[bool] = False
    qr: Annotated[Text, Meta(description="text of the QR code")] | None = None
    playlist: Annotated[tuple[PlaylistEntry, ...], Meta(max_length=MAX_PLAYLIST)] = ()


class UpdateFirmware(Struct, frozen=True, kw_only=True, tag_field="type", tag="update_firmware"):
    """`manifest` is the signed bundle of section 16.2, byte for byte; `url` serves the image, also in ranges."""

    moves_metal: ClassVar[bool] = False
    manifest: Annotated[bytes, Meta(max_length=MAX_MANIFEST_BYTES)]
    url: Annotated[str, Meta(max_length=2048)]


class CollectLogs(Struct, frozen=True, kw_only=True, tag_field="type", tag="collect_logs"):
    """Ask for the log as `log_chunk` messages."""

    moves_metal: ClassVar[bool] = False
    request_id: Annotated[Text, Meta(description="repeated in every log_chunk")]
    since_ms: Annotated[ClockMs, Meta(description="only lines from this time on")] | None = None
    max_bytes: Annotated[int, Meta(ge=1, le=2**31 - 1, description="the newest bytes, at most this many")] | None = None
    indexes: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=MAX_LOG_CHUNKS - 1)], ...],
        Meta(max_length=MAX_LOG_INDEXES, description="only these pieces, again, of what was collected under this id"),
    ] = ()


class RotateCredential(Struct, frozen=True, kw_only=True, tag_field="type", tag="rotate_credential"):
    """Fetch a new credential from `url` with the one-time `token`; the old one works until then."""

    moves_metal: ClassVar[bool] = False
    url: Annotated[str, Meta(max_length=2048)]
    token: Annotated[Text, Meta(description="one-time token for that address")]


class SetNetwork(Struct, frozen=True, kw_only=True, tag_field="type", tag="set_network"):
    """Change how the cabinet reaches the Internet; what is absent stays as it is."""

    moves_metal: ClassVar[bool] = False
    apn: Text | None = None
    wifi_ssid: Text | None = None
    wifi_password: Text | None = None


class VendorCommand(Struct, frozen=True, kw_only=True, tag_field="type", tag="vendor_command"):
    """What only a vendor's cabinets can be told, in the vendor's own word: no command of this protocol."""

    moves_metal: ClassVar[bool] = False
    name: Annotated[Text, Meta(description="as the cabinet's capabilities list it")]
    data: Text | None = None
    wifi_ssid: Text | None = None
    wifi_password: Text | None = None


#: Those of the protocol itself.
NativeCommand = (
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
Command = NativeCommand | VendorCommand


class CommandFrame(Struct, frozen=True, kw_only=True):
    """One command with what every command carries.

    `deadline_ms` is on the backend's clock, which the cabinet knows from `Welcome`. A cabinet that has already carried
    out `command_id` answers with the remembered result and moves nothing.
    """

    command_id: CommandId
    deadline_ms: ClockMs
    attempt: Counter
    command: Command


class Welcome(Struct, frozen=True, kw_only=True, tag_field="type", tag="welcome"):
    """Opens the boot gate, or with `retry_after_s` asks the cabinet to send `Booted` again later.

    `boot_floor`: the highest boot the backend has seen from this cabinet before this start. A cabinet that lost its
    counter (worn flash) continues above it. `epoch_floor` is the same for epochs, given only when `epoch` is below it.
    """

    epoch: Annotated[Counter, Meta(description="from the booted answered; any other is not for this session")]
    server_ms: Annotated[ClockMs, Meta(description="the backend's clock now")]
    heartbeat_s: Annotated[int, Meta(ge=1, le=86_400, description="seconds between heartbeats")]
    telemetry_s: Annotated[int, Meta(ge=1, le=86_400, description="seconds between slot_telemetry messages")]
    config_version: Annotated[CounterOrZero, Meta(description="version the backend wants; 0: none set")] = 0
    boot_floor: Annotated[CounterOrZero, Meta(description="highest boot known from before this start")] = 0
    epoch_floor: Annotated[
        CounterOrZero, Meta(description="highest epoch known, when the one answered is older; otherwise 0")
    ] = 0
    retry_after_s: Annotated[Seconds, Meta(description="not ready: stay quiet and boot again after this")] | None = None


class Ack(Struct, frozen=True, kw_only=True, tag_field="type", tag="ack"):
    """Events of `boot` up to and including `through` are stored; the cabinet may forget them."""

    boot: Counter
    through: Annotated[CounterOrZero, Meta(description="last seq stored without a gap")]


class Resend(Struct, frozen=True, kw_only=True, tag_field="type", tag="resend"):
    """Send these events again; answer `JournalLost` for those that are gone."""

    ranges: Annotated[tuple[JournalRange, ...], Meta(min_length=1, max_length=MAX_JOURNAL_RANGES)]


Control = Welcome | Ack | Resend
