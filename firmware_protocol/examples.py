"""One true-to-life example of every message. The specification, the AsyncAPI document and the tests all use these."""

from typing import Final

from firmware_protocol import commands as c
from firmware_protocol import messages as m
from firmware_protocol import types as t

STATION: Final = "VB-0001"
#: 2026-11-23T09:00:00Z
NOW_MS: Final = 1_795_424_400_000
EJECT_ID: Final = "01936a3e-7c00-7b1e-9d2a-5a1f0c9e4b21"
QUERY_ID: Final = "01936a3e-8d10-7c44-8e51-0b7d1f6a2c93"

_UP: Final[tuple[m.UpMessage, ...]] = (
    m.Booted(
        epoch=118,
        firmware="2.4.1",
        hardware="CAB8-rev3",
        slots=8,
        reset_cause=t.ResetCause.POWER_ON,
        iccid="8949000000000000001",
        config_version=3,
        journal=(m.JournalRange(boot=41, first=900, last=904),),
    ),
    m.JournalLost(boot=41, first=880, last=899),
    m.Online(epoch=118),
    m.Offline(epoch=118, cause=t.OfflineCause.NETWORK),
    m.Heartbeat(signal_dbm=-71, mains=True, temperature_c=31.5, uptime_s=5400),
    m.SlotTelemetry(
        slots=(
            m.SlotSample(
                slot=1,
                serial="PB00001234",
                charge_pct=87,
                voltage_mv=4080,
                current_ma=450,
                temperature_c=29.5,
                cycles=112,
                health_pct=96,
            ),
            m.SlotSample(slot=3, serial="PB00001302", charge_pct=41, voltage_mv=3720, current_ma=1900),
        )
    ),
    m.Inventory(
        slots=(
            m.SlotInventory(slot=1, state=t.SlotState.OCCUPIED, serial="PB00001234", locked=False, charge_pct=87),
            m.SlotInventory(slot=2, state=t.SlotState.EMPTY, locked=False),
            m.SlotInventory(slot=3, state=t.SlotState.FAULT, locked=True),
        ),
        complete=True,
        command_id=QUERY_ID,
    ),
    m.PowerBankInserted(slot=2, serial="PB00001302", charge_pct=12),
    m.PowerBankEjected(slot=1, serial="PB00001234", charge_pct=87, command_id=EJECT_ID),
    m.SlotLocked(slot=3),
    m.SlotUnlocked(slot=3),
    m.SlotFault(slot=3, kind=t.SlotFaultKind.JAM, cleared=False, detail="motor current 1.9 A for 2 s"),
    m.StationFault(kind=t.StationFaultKind.POWER_LOST, cleared=False),
    m.CommandResult(command_id=EJECT_ID, outcome=t.CommandOutcome.SUCCEEDED, slot=1, serial="PB00001234"),
    m.FirmwareProgress(version="2.5.0", phase="downloading", progress_pct=40),
    m.LogChunk(request_id="log-7", index=0, last=True, content=b"09:00:00 door closed\n"),
    m.ConfigReport(version=4, values={"volume_pct": 60, "language": "de", "night_mode": False}),
)
#: Messages outside the journal carry seq 0 and events and samples count from 1: here every one is the 57th.
UP: Final = tuple(
    m.UpFrame(
        station=STATION,
        boot=42,
        seq=0 if message.stream is m.Stream.SESSION else 57,
        at_ms=NOW_MS + 250,
        message=message,
    )
    for message in _UP
)

_COMMANDS: Final[tuple[c.Command, ...]] = (
    c.EjectPowerBank(slot=1, serial="PB00001234"),
    c.LockSlot(slot=3),
    c.UnlockSlot(slot=3),
    c.QueryInventory(),
    c.SetConfig(version=4, values={"volume_pct": 60, "language": "de", "night_mode": False}),
    c.GetConfig(),
    c.Reboot(),
    c.SetVolume(volume_pct=60),
    c.PlaySound(sound="thank_you"),
    c.ShowScreen(
        qr="https://example.org/s/VB-0001",
        playlist=(c.PlaylistEntry(url="https://example.org/a.jpg", seconds=10),),
    ),
    c.UpdateFirmware(manifest=b'{"version":"2.5.0"}', url="https://example.org/fw/2.5.0.bin"),
    c.CollectLogs(request_id="log-7", since_ms=NOW_MS - 3_600_000),
    c.RotateCredential(url="https://example.org/provision", token="one-time-token"),  # noqa: S106  # an example's
    c.SetNetwork(apn="internet"),
)
COMMANDS: Final = tuple(
    c.CommandFrame(
        command_id=QUERY_ID if isinstance(command, c.QueryInventory) else EJECT_ID,
        deadline_ms=NOW_MS + 15_000,
        attempt=1,
        command=command,
    )
    for command in _COMMANDS
)

CONTROLS: Final[tuple[c.Control, ...]] = (
    c.Welcome(
        epoch=118, server_ms=NOW_MS, heartbeat_s=30, telemetry_s=60, config_version=4, boot_floor=41, retry_after_s=None
    ),
    c.Ack(boot=42, through=57),
    c.Resend(ranges=(m.JournalRange(boot=42, first=55, last=56),)),
)
