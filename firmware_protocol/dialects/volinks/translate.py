"""What frames of Volinks cabinets mean, and how commands are said to them (decision 0085; numbers: volinks.md)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, assert_never

from firmware_protocol.commands import (
    CommandFrame,
    EjectPowerBank,
    QueryInventory,
    Reboot,
    SetNetwork,
    SetVolume,
    VendorCommand,
)
from firmware_protocol.dialect import Cadence, Capabilities, Published
from firmware_protocol.dialects.volinks import codec, commands, topics
from firmware_protocol.dialects.volinks.answers import pop_by_hole, pop_by_serial, returned, self_test_return
from firmware_protocol.dialects.volinks.boards import Inventory
from firmware_protocol.dialects.volinks.frames import (
    Heartbeat,
    NamedFrame,
    PopByHoleResult,
    PopBySerialResult,
    ReturnResult,
    SelfTestReturn,
    UpFrame,
    WifiScan,
)
from firmware_protocol.dialects.volinks.inventories import inventory, question
from firmware_protocol.dialects.volinks.limits import NO_SERIAL
from firmware_protocol.errors import UnsupportedCommand
from firmware_protocol.messages import FrameNoted
from firmware_protocol.messages import Heartbeat as Beat
from firmware_protocol.vendor import Known, Reading, Sender

#: The cabinet tests slot and sensors for 3 s after an eject (9.1).
SELF_CHECK_S: Final = 5.0
#: CSQ to dBm as modems count (3GPP TS 27.007, +CSQ); 99 is no network.
_CSQ_DBM: Final = (-113, 2)
_NO_NETWORK: Final = 99
_BACKUP_RUNS: Final = 3
_BACKUP_IDLE: Final = 2
#: A cabinet that honours it (none was seen) drops an eject that took longer (11).
_TTL_S: Final = 30
#: Of a scan; more are not kept.
_MOST_NETWORKS: Final = 50

#: What operators may tell a cabinet beside the commands that all cabinets know (9).
_PLAIN: Final = frozenset(commands.Word) - {commands.Word.CHECK, commands.Word.CHECK_ALL, commands.Word.REBOOT}
VENDOR_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **{str(word): () for word in sorted(_PLAIN)},
        **{str(key): ("data",) for key in commands.TextKey},
        "setMode": ("data",),
        "buffer_upload": ("data",),
        # Two spellings: cabinets with a screen take the second one.
        "setWifi": ("wifi_ssid", "wifi_password"),
        "set_wifi": ("wifi_ssid", "wifi_password"),
    }
)
_SSID_KEYS: Final = {"setWifi": "username", "set_wifi": "name"}

CAPABILITIES: Final = Capabilities(
    sequence_numbers=False,
    command_ids=False,
    honours_deadline=False,
    journal=False,
    # With QoS 1 a lost PUBACK makes the broker repeat the eject, and the cabinet gives a second bank (9.1).
    command_qos=0,
    commands=frozenset(
        {"eject_power_bank", "query_inventory", "reboot", "set_volume", "set_network", "vendor_command"}
    ),
    unanswered=frozenset({"reboot", "set_volume", "set_network", "vendor_command"}),
    vendor_commands=VENDOR_COMMANDS,
    only_to_the_living=True,
    eject_gap_s=5,
    self_check_s=SELF_CHECK_S,
    answer_within_s=15,
    # 9 min by the guide, 10 in the field; away after two of them and a margin: 21 to 22 min.
    cadence=Cadence(period_s=600, most_s=600, periods=2, margin_s=90),
)


class VolinksDialect:
    """One dispatcher for both revisions of the guide: frames tell them apart, not configuration."""

    name = "volinks"
    capabilities = CAPABILITIES

    def sender(self, topic: str) -> Sender:
        """The cabinet of an uplink topic."""
        return Sender(topics.parse(topic).uuid)

    def is_login(self, payload: bytes) -> bool:
        del payload
        return False

    def read(self, topic: str, payload: bytes, known: Known) -> Reading:
        del topic  # 0x7A on `update` or an inventory on `heart` would be odd, and no reason to lose it
        layout = None if known.layout is None else tuple(len(board) for board in known.layout)
        return _meaning(codec.decode_up(payload, tolerate_checksum=known.tolerate_checksum, layout=layout), known)

    def encode(self, known: Known, frame: CommandFrame) -> Published:
        payload = commands.encode_down(_order(known, frame))
        topic = topics.topic(known.hardware_id, topics.Kind.GET)
        return Published(topic=topic, payload=payload, qos=self.capabilities.command_qos)


def _meaning(frame: UpFrame, known: Known) -> Reading:  # noqa: PLR0911  # a flat table of frames
    match frame:
        case Inventory():
            return inventory(frame, known)
        case PopBySerialResult():
            return pop_by_serial(frame, known)
        case PopByHoleResult():
            return pop_by_hole(frame, known)
        case ReturnResult():
            return returned(frame, known)
        case SelfTestReturn():
            return self_test_return(frame, known)
        case Heartbeat():
            return Reading(samples=(_beat(frame),))
        case WifiScan():
            # What is kept of it is JSON in a database that holds no U+0000.
            names = tuple(name.replace("\0", "\\0") for name in frame.ssids[:_MOST_NETWORKS])
            return Reading(events=(FrameNoted(what="wifi_scan", details=names),))
        case NamedFrame():
            return Reading(events=(FrameNoted(what=f"0x{frame.command:02X} {frame.name}"),))
        case _:
            assert_never(frame)


def _beat(frame: Heartbeat) -> Beat:
    csq = frame.csq
    base, step = _CSQ_DBM
    mains = {_BACKUP_RUNS: False, _BACKUP_IDLE: True}
    return Beat(
        signal_dbm=None if csq is None or csq == _NO_NETWORK else base + step * csq,
        mains=None if frame.bp is None else mains.get(frame.bp),
    )


def _order(known: Known, frame: CommandFrame) -> commands.DownCommand:  # noqa: PLR0911  # a flat table of commands
    command = frame.command
    match command:
        case EjectPowerBank():
            return _pop(known, command, frame.deadline_ms)
        case QueryInventory():
            return commands.Plain(question(known))
        case Reboot():
            return commands.Plain(commands.Word.REBOOT)
        case SetVolume():
            return commands.SetVolume(command.volume_pct)
        case SetNetwork(apn=None, wifi_ssid=str(ssid)):
            return commands.SetWifi(ssid=ssid, password=command.wifi_password or "")
        case SetNetwork(apn=str(apn), wifi_ssid=None):
            return commands.TextCommand(key=commands.TextKey.SET_APN, data=apn)
        case VendorCommand():
            return _vendors_own(command)
        case _:
            raise UnsupportedCommand(f"{type(command).__name__}: Volinks cabinets have no such command")


def _vendors_own(command: VendorCommand) -> commands.DownCommand:
    if command.name not in VENDOR_COMMANDS:
        raise UnsupportedCommand(f"{command.name!r}: expected one of {', '.join(VENDOR_COMMANDS)}")
    wire = {"cmd": command.name}
    if command.data is not None:
        wire["data"] = command.data
    if command.wifi_ssid is not None:
        wire |= {_SSID_KEYS.get(command.name, "name"): command.wifi_ssid, "password": command.wifi_password or ""}
    return commands.from_wire(wire)


def _pop(known: Known, command: EjectPowerBank, deadline_ms: int) -> commands.DownCommand:
    """By serial where it can be said: a repeat of that finds the bank gone, a repeat by hole gives the next one."""
    # The stamped form is the documented one. No cabinet that was tested honours it: nothing here relies on it.
    stamp = deadline_ms // 1000 - _TTL_S
    serial = command.serial
    # A leading zero is lost on the way, and the answer would name another bank.
    if serial is not None and serial.isascii() and serial.isdecimal() and str(int(serial)) == serial != "0":
        if int(serial) >= NO_SERIAL:
            raise UnsupportedCommand(f"eject {serial}: a Volinks serial is a 32-bit number")
        return commands.PopBySerial(sn=int(serial), timestamp=stamp, ttl=_TTL_S)
    if command.slot is None or serial is not None:
        raise UnsupportedCommand(f"eject {serial!r}: a Volinks serial is a number, and a hole is popped without one")
    return commands.PopByHole(hole=hole_of(known, command.slot), timestamp=stamp, ttl=_TTL_S)


def hole_of(known: Known, slot: int) -> int:
    """The cabinet's own number of a slot: holes count on over boards, and may leave numbers out between them."""
    holes = [hole for board in known.layout or () for hole in board]
    return holes[slot - 1] if 0 < slot <= len(holes) else slot


VOLINKS: Final = VolinksDialect()
