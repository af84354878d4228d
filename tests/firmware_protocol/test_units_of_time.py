"""Seconds are never taken for milliseconds: one instant, as each dialect tells it to its cabinets."""

import struct

import msgspec

from firmware_protocol.commands import CommandFrame, EjectPowerBank, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.dialects.relink import codec as relink
from firmware_protocol.dialects.relink import up
from firmware_protocol.dialects.relink.codes import Generation
from firmware_protocol.dialects.relink.translate import RELINK, Place
from firmware_protocol.dialects.volinks.translate import VOLINKS
from firmware_protocol.vendor import Known

AT_S = 1_795_000_000
AT_MS = AT_S * 1000
EJECT = CommandFrame(command_id="0", deadline_ms=AT_MS, attempt=1, command=EjectPowerBank(serial="10001001"))
KNOWN = Known(station="V", hardware_id="860000000000017", slot_count=4, at_s=AT_S, secret=b"TESTKEY1")


def test_a_native_cabinet_is_told_milliseconds() -> None:
    sent = msgspec.json.decode(NATIVE.encode_command("V", EJECT).payload)
    assert sent["deadline"] == AT_MS
    welcome = Welcome(epoch=1, server_ms=AT_MS, heartbeat_s=60, telemetry_s=300)
    assert msgspec.json.decode(NATIVE.encode_control("V", welcome).payload)["data"]["server_ms"] == AT_MS


def test_a_volinks_cabinet_is_told_seconds() -> None:
    sent = msgspec.json.decode(VOLINKS.encode(KNOWN, EJECT).payload)
    assert int(sent["timestamp"]) + int(sent["ttl"]) == AT_S


def test_a_relink_cabinet_is_told_seconds() -> None:
    login = up.Login2(nonce=7, box_id="RL1H000000000777", timestamp=0, slots_num=4, remain=0)
    payload = relink.encode_up(login, Generation.TWO, KNOWN.secret)
    reading = RELINK.read(Place("g", 1, Generation.TWO, 0, login.box_id).topic, payload, KNOWN)
    assert reading.reply is not None
    _, _, told = struct.unpack(">BII", reading.reply[9:])
    assert told == AT_S
