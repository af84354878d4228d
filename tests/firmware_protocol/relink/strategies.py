"""Messages of both generations as hypothesis draws them."""

from hypothesis import strategies as st

from firmware_protocol.dialects.relink import down, up
from firmware_protocol.dialects.relink.codes import Command
from firmware_protocol.dialects.relink.fields import bank_text
from firmware_protocol.dialects.relink.records import Bank, CoarseBank

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
_PREFIXED = st.from_regex(r"[A-Z0-9a-z]{4}[0-9A-F]{8}", fullmatch=True)
bank_ids = st.none() | _PREFIXED | st.binary(min_size=8, max_size=8).map(bank_text)
coarse_banks = st.builds(CoarseBank, slot=u8, bank=bank_ids, level=u8)
banks = st.builds(
    Bank,
    slot=u8,
    bank=bank_ids,
    level_raw=u8,
    mv=u16,
    ma=u16,
    temp_c=st.integers(-128, 127),
    status_raw=u8,
    soh=u8,
)
_COARSE = st.lists(coarse_banks, max_size=12).map(tuple)
_BANKS = st.lists(banks, max_size=12).map(tuple)

_UP_COMMON = [
    st.builds(up.Heartbeat),
    st.builds(up.Version, texts),
    st.builds(up.Iccid, texts),
    st.builds(up.Server, address=texts, port=texts, heartbeat_s=u8),
    st.builds(up.Volume, u8),
    st.builds(up.EjectResult, slot=u8, result=u8, bank=bank_ids),
    st.builds(up.Done, st.sampled_from([Command.RESTART, Command.SET_SERVER])),
]
up_1: st.SearchStrategy[up.UpMessage] = st.one_of(
    *_UP_COMMON,
    st.builds(up.Login1, nonce=u32, box_id=texts, reg_data=st.none() | texts),
    st.builds(up.Inventory1, remain=u8, banks=_COARSE),
    st.builds(up.BorrowResult, slot=u8, result=u8, bank=bank_ids),
    st.builds(up.Return1, slot=u8, bank=bank_ids),
    st.builds(up.VolumeSet),
    st.builds(
        up.Network,
        csq=u8,
        error_rate=u8,
        mode=u8,
        command=st.sampled_from([Command.NETWORK, Command.NETWORK_EARLY]),
    ),
    st.builds(up.ApnSet, u8),
    st.builds(up.Apn, index=u8, valid=u8, mccmnc=texts, apn=texts),
    st.builds(up.Opaque, command=st.sampled_from([Command.UPGRADE, Command.STOCK]), payload=st.binary(max_size=40)),
)
up_2: st.SearchStrategy[up.UpMessage] = st.one_of(
    *_UP_COMMON,
    st.builds(up.Login2, nonce=u32, box_id=texts, timestamp=u32, slots_num=u8, remain=u8, banks=_BANKS),
    st.builds(up.Inventory2, slots_num=u8, remain=u8, banks=_BANKS),
    st.builds(up.BorrowResult, slot=u8, result=u8, bank=bank_ids, locks=st.binary(min_size=2, max_size=3)),
    st.builds(up.Return2, banks),
    st.builds(up.VolumeSet, st.none() | u8),
    st.builds(up.Abnormal, event=u8, slot=u8, bank=bank_ids),
)

_ASKED = [
    Command.HEARTBEAT,
    Command.VERSION,
    Command.INVENTORY,
    Command.RESTART,
    Command.ICCID,
    Command.SERVER,
    Command.VOLUME,
]
_DOWN_COMMON = [
    st.builds(down.Borrow, u8),
    st.builds(down.Eject, u8),
    st.builds(down.SetServer, address=texts, port=texts, heartbeat_s=u8),
    st.builds(down.SetVolume, st.integers(0, 15)),
]
down_1: st.SearchStrategy[down.DownMessage] = st.one_of(
    *_DOWN_COMMON,
    st.builds(down.Ask, st.sampled_from([*_ASKED, Command.STOCK, Command.NETWORK, Command.NETWORK_EARLY])),
    st.builds(down.LoginReply1, u8),
    st.builds(down.ReturnReply1, slot=u8, result=u8),
    st.builds(down.SetApn, index=st.integers(0, 4), valid=u8, mccmnc=texts, apn=texts, user=texts, password=texts),
    st.builds(down.AskApn, st.integers(0, 4)),
)
down_2: st.SearchStrategy[down.DownMessage] = st.one_of(
    *_DOWN_COMMON,
    st.builds(down.Ask, st.sampled_from([*_ASKED, Command.ABNORMAL])),
    st.builds(down.LoginReply2, result=u8, nonce=u32, timestamp=u32),
    st.builds(down.ReturnReply2, result=u8, bank=banks),
)
