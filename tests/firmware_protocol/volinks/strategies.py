"""Frames and commands as hypothesis draws them: every value that fits its field."""

from random import Random

from hypothesis import strategies as st

from firmware_protocol.dialects.volinks import board_codec
from firmware_protocol.dialects.volinks.boards import Inventory
from firmware_protocol.dialects.volinks.codes import NAMED_ONLY
from firmware_protocol.dialects.volinks.commands import (
    BufferUpload,
    DownCommand,
    Plain,
    PopByHole,
    PopBySerial,
    SetMode,
    SetVolume,
    SetWifi,
    TextCommand,
)
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
from firmware_protocol.dialects.volinks.limits import MAX_POPUP_HOLE, NO_SERIAL

u8 = st.integers(0, 0xFF)
u32 = st.integers(0, 0xFFFF_FFFF)
SHAPES = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(tuple)


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    """Any layout, numbered through as cabinets do, its headers of one style and noise elsewhere; wraps after 255.

    Noise that is chosen with care can look like another cabinet, and then no rule could tell: it is drawn by chance.
    """
    shape = draw(SHAPES)
    first = draw(st.integers(1, 300))
    noise = Random(draw(st.integers(0, 2**32)))  # for noise
    fill = draw(st.sampled_from([0xFF, 0, None]))
    data = bytearray()
    for address, holes in enumerate(shape, 1):
        data += bytes((address, holes) if fill is None else (address, fill, fill))
        data += noise.randbytes(4 if fill is None else 3)
        for number in range(first, first + holes):
            data += bytes((number & 0xFF,)) + noise.randbytes(14)
        first += holes
    return board_codec.decode(bytes(data), shape)


_SELF_TEST = ("hole", "state", "byte7", "byte8", "area", "soc_raw", "temp_raw", "charge_v_raw", "charge_a_raw", "soft")
_EXTRA = st.just(b"") | st.binary(max_size=12)
small_frames: st.SearchStrategy[UpFrame] = st.one_of(
    st.builds(PopByHoleResult, board=u8, hole=u8, state=u8, solenoid=u8, extra=_EXTRA),
    st.builds(PopBySerialResult, byte4=u8, sn=u32, state=u8, byte10=u8, extra=_EXTRA),
    st.builds(ReturnResult, board=u8, hole=u8, area=u8, sn=u32, state=u8),
    st.builds(ReturnResult, board=u8, hole=u8, area=u8, sn=u32, state=u8, soft=u8),
    st.builds(ReturnResult, board=u8, hole=u8, area=u8, sn=u32, state=u8, soft=u8, soc_raw=u8),
    st.builds(SelfTestReturn, board=u8, sn=u32, byte19=u8, extra=_EXTRA, **dict.fromkeys(_SELF_TEST, u8)),
    st.builds(Heartbeat, board=u8, data=st.binary(max_size=40)),
    st.builds(WifiScan, data=st.binary(max_size=200)),
    st.builds(NamedFrame, command=st.sampled_from(sorted(NAMED_ONLY)), data=st.binary(max_size=60)),
)

_SECONDS = st.none() | st.integers(0, 2_000_000_000)
_TEXT = st.text(max_size=60)
down_commands: st.SearchStrategy[DownCommand] = st.one_of(
    st.builds(Plain),
    st.builds(PopByHole, hole=st.integers(1, MAX_POPUP_HOLE), io=st.integers(0, 1), timestamp=_SECONDS, ttl=_SECONDS),
    st.builds(PopBySerial, sn=st.integers(1, NO_SERIAL - 1), timestamp=_SECONDS, ttl=_SECONDS),
    st.builds(TextCommand, data=_TEXT),
    st.builds(SetWifi, ssid=_TEXT, password=_TEXT, screen=st.booleans()),
    st.builds(SetMode),
    st.builds(SetVolume, level=st.integers(0, 100)),
    st.builds(BufferUpload, on=st.booleans()),
)
