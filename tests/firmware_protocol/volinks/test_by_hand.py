"""Frames written by hand from the reference, byte by byte, and what each byte of them means.

Nothing here was made by our encoder: a mistake that encoder and decoder share would show.
"""

from typing import Any

import pytest

from firmware_protocol.dialects.volinks.describe import describe
from firmware_protocol.errors import ProtocolError

#: Hex without length and check, which `frame` puts in; fields that the reference gives to those bytes.
FRAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "pop by hole, board of an old cabinet": (
        "A8 .... 21 30 12 00 07",
        {"cmd": "0x21", "board": 0x30, "hole": 18, "state": 0, "outcome": "not_dispensed", "solenoid": 7},
    ),
    "pop by hole, a code that no guide has": (
        "A8 .... 21 02 50 77 00",
        {"board": 2, "hole": 80, "state": 0x77, "outcome": "uncertain"},
    ),
    "pop by hole, padded to 20 bytes as in the guide, with the right check": (
        "A8 .... 21 10 01 01 02 0000000000 0000000000 00",
        {"length": 20, "board": 16, "hole": 1, "outcome": "dispensed", "solenoid": 2},
    ),
    "pop by serial, 12 means opposite things": (
        "A8 .... 31 60 009BD210 12 00",
        {"byte4": 96, "sn": 10211856, "state": 0x12, "outcome": "uncertain", "revision": "unknown"},
    ),
    "pop by serial, a code of the old guide": (
        "A8 .... 31 10 058E1708 05 04",
        {"byte4": 16, "sn": 93198088, "outcome": "uncertain", "revision": "old", "byte10": 4},
    ),
    "pop by serial, no bank qualifies": (
        "A8 .... 31 00 FFFFFFFF FB 00",
        {"sn": 4294967295, "outcome": "not_dispensed", "revision": "new"},
    ),
    "return of 13 bytes, switch unseen": (
        "A8 .... 40 20 09 00 058E1708 03",
        {"board": 32, "hole": 9, "sn": 93198088, "returned": True, "soft": None, "soc": None, "variant": 13},
    ),
    "return of 14 bytes, serial unread": (
        "A8 .... 40 01 04 00 FFFFFFFF 11 00",
        {"sn": 4294967295, "state": 0x11, "returned": False, "soft": 0, "soc": None, "variant": 14},
    ),
    "return of 15 bytes, charge unknown": (
        "A8 .... 40 01 04 49 026ED584 01 19 FF",
        {"area": 0x49, "sn": 40818052, "returned": True, "soft": 25, "soc": None, "variant": 15},
    ),
    "return of 15 bytes, a charge beyond 100": (
        "A8 .... 40 01 04 00 026ED584 10 19 65",
        {"state": 0x10, "returned": False, "soc": None},
    ),
    "self-test, everything unknown": (
        "A8 .... 28 01 05 01 00 EC 49 026ED584 FF 00 FF FF 19 40",
        {
            "board": 1, "hole": 5, "returned": True, "byte7": 0, "byte8": 0xEC, "area": 0x49, "sn": 40818052,
            "soc": None, "temp_c": None, "charge_v": None, "charge_a": None, "soft": 25, "byte19": 0x40,
        },
    ),
    "self-test, everything known": (
        "A8 .... 28 10 06 24 00 00 04 058E1708 5F 1E 32 0C CA 80",
        {"state": 0x24, "returned": False, "soc": 95, "temp_c": 30, "charge_v": 5.0, "charge_a": 1.2, "soft": 202},
    ),
    "heartbeat, the other way round": ("A8 .... 7A 10 42503A32 3B 4353513A3331", {"csq": 31, "bp": 2}),
    "heartbeat of a board alone": ("A8 .... 7A 10", {"board": 16, "text": "", "csq": None, "bp": None}),
}  # fmt: skip

#: Boards of an old cabinet whose second address skips holes: 1 to 6 behind 0x10, 31 to 36 behind 0x60.
_OLD_BOARDS = (
    "10 0000 00 6E 6E"
    "01 01 00 F1 04 058E1708 5F 1E 32 00 CA 00"  # a bank, 95 %
    "02 00 00 00 00 00000000 FF FF 00 00 00 80"  # nothing: charge and temperature read 255
    "03 02 00 00 04 058E1709 00 00 FF FF CA 00"  # does not charge
    "04 03 00 00 04 FFFFFFFF FF FF FF FF 00 00"  # nobody can read it
    "05 04 00 00 04 058E170A 64 1E 32 00 CA 40"  # stuck, solenoid open
    "06 00 B7 6D 00 00040000 00 01 00 00 00 80"  # nothing, with leftovers
    "60 0000 00 6E 6E"
    "1F 01 00 00 04 00000000 32 1E 32 00 CA 00"  # a bank without serial is not for rent
    + "".join(f"{number:02X} 00 00 00 00 00000000 00 00 00 00 00 80" for number in range(0x20, 0x25))
)


def frame(hand: str) -> bytes:
    body = bytearray.fromhex(hand.replace("....", "0000"))
    body[1:3] = (len(body) + 1).to_bytes(2, "big")
    return bytes(body) + bytes([(0 - sum(body)) % 256])


@pytest.mark.parametrize("name", FRAMES)
def test_every_byte_means_what_the_reference_says(name: str) -> None:
    hand, fields = FRAMES[name]
    shown = describe(frame(hand))
    assert {key: shown[key] for key in fields} == fields


def test_an_old_cabinet_of_two_boards() -> None:
    shown = describe(frame("A8 .... 10" + _OLD_BOARDS))
    assert shown["layout"] == "unique"
    assert [(board["address"], board["io"], len(board["holes"])) for board in shown["boards"]] == [
        (0x10, 0, 6),
        (0x60, 1, 6),
    ]
    holes = {hole["hole"]: hole for board in shown["boards"] for hole in board["holes"]}
    assert list(holes) == [*range(1, 7), *range(31, 37)]
    assert [number for number, hole in holes.items() if hole["occupied"]] == [1, 3, 4, 5, 31]
    assert [number for number, hole in holes.items() if hole["rentable"]] == [1]
    assert (holes[1]["battery_v"], holes[1]["charge_v"], holes[1]["charge_a"]) == (4.41, 5.0, 0.0)
    assert (holes[2]["soc"], holes[2]["temp_c"], holes[2]["micro_switch_open"]) == (None, None, True)
    assert (holes[3]["temp_c"], holes[3]["charge_v"], holes[3]["charge_a"]) == (None, None, None)
    assert (holes[4]["soc"], holes[4]["sn"], holes[5]["solenoid_open"]) == (None, 4294967295, True)


@pytest.mark.parametrize(
    ("hand", "code"),
    [
        ("A8 .... 10" + _OLD_BOARDS[: -len("24 00 00 00 00 00000000 00 00 00 00 00 80")] + "26" + " 00" * 14, "layout"),
        ("A8 .... 10" + _OLD_BOARDS + "00", "layout"),
        ("A8 .... 10", "layout"),
        ("A8 .... 21 30 12 00", "truncated"),
        ("A8 .... 31 60 009BD210 12", "truncated"),
        ("A8 .... 40 20 09 00 058E1708", "truncated"),
        ("A8 .... 40 20 09 00 058E1708 01 19 5F 00", "length"),
        ("A8 .... 28 01 05 01 00 EC 49 026ED584 FF 00 FF FF 19", "truncated"),
        ("A8 .... 7A", "truncated"),
        ("A8 .... AB", "unknown_type"),
        ("A8 .... 38 01", "unknown_layout"),
        ("A9 .... 21 30 12 00 07", "head"),
    ],
)
def test_what_the_reference_does_not_allow(hand: str, code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        describe(frame(hand))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("hand", "code"),
    [
        ("A8 000F 40 01 04 49 026ED584 01 19 FF 21", "checksum"),  # 22 would be right
        ("A8 000E 40 01 04 49 026ED584 01 19 FF DA", "length"),  # as the guide's table says; the sum fits
        ("A8 0009 21 10 01 01 02 1A 00", "length"),  # a 00 more, and the sum still fits
    ],
)
def test_length_and_check_are_not_forgiven(hand: str, code: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        describe(bytes.fromhex(hand))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["Cafe, upstairs","Guest"]', ["Cafe, upstairs", "Guest"]),
        ("[]", []),
        ('["","Guest"]', ["", "Guest"]),  # a hidden network, as JSON says
        # What is no JSON goes the vendor's way: first and last character off, cut on commas, unquoted.
        ("(Cafe,Guest)", ["Cafe", "Guest"]),
        ('["Cafe","Guest', ["Cafe", "Gues"]),
        ('["Cafe","Guest"', ["Cafe", "Guest"]),
        ('["Cafe",]', ["Cafe"]),
        ("[1,2]", ["1", "2"]),
        # Nothing between the two characters, or no two characters: no name, not one without letters.
        ("", []),
        ("[", []),
        ('["', []),
        ("[,]", []),
    ],
)
def test_a_wifi_scan_is_json_or_what_the_vendor_cuts(text: str, names: list[str]) -> None:
    assert describe(frame("A8 .... CF" + text.encode().hex()))["ssids"] == names
