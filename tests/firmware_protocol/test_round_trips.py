import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from firmware_protocol import topics
from firmware_protocol.channels import COMMANDS, CONTROLS, DOWN_KIND, UP_KIND, UP_MESSAGES
from firmware_protocol.commands import CommandFrame, LockSlot
from firmware_protocol.dialects import registry
from firmware_protocol.dialects.native import NATIVE, Encoding
from firmware_protocol.errors import FrameTooLarge, InvalidField, UnknownDialect
from firmware_protocol.messages import LogChunk, UpFrame
from firmware_protocol.topics import DownKind
from tests.firmware_protocol.strategies import command_frames_of, frames_of, messages_of

ENCODINGS = st.sampled_from(Encoding)


@pytest.mark.parametrize("cls", UP_MESSAGES)
@given(data=st.data(), encoding=ENCODINGS, names_type=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_message_of_a_cabinet_survives(
    cls: type[Struct], data: st.DataObject, encoding: Encoding, names_type: bool
) -> None:
    frame = data.draw(frames_of(cls))
    sent = NATIVE.publish_up(frame, encoding)
    assert NATIVE.decode(sent.topic, sent.payload, sent.content_type if names_type else None) == frame
    assert sent.topic == topics.up(frame.station, UP_KIND[cls])
    assert sent.retain is (sent.topic.endswith("/state"))


@pytest.mark.parametrize("cls", COMMANDS)
@given(data=st.data(), encoding=ENCODINGS)
@settings(max_examples=60, deadline=None)
def test_every_command_survives(cls: type[Struct], data: st.DataObject, encoding: Encoding) -> None:
    frame = data.draw(command_frames_of(cls))
    sent = NATIVE.encode_command("VB-0001", frame, encoding)
    assert sent.topic == "vb/v1/VB-0001/down/command"
    assert NATIVE.decode_down(sent.topic, sent.payload, sent.content_type) == frame
    assert NATIVE.decode_command(sent.payload) == frame


@pytest.mark.parametrize("cls", CONTROLS)
@given(data=st.data(), encoding=ENCODINGS)
@settings(max_examples=60, deadline=None)
def test_every_control_message_survives(cls: type[Struct], data: st.DataObject, encoding: Encoding) -> None:
    control = data.draw(messages_of(cls))
    sent = NATIVE.encode_control("VB-0001", control, encoding)
    assert sent.topic == topics.down("VB-0001", DOWN_KIND[cls])
    assert NATIVE.decode_down(sent.topic, sent.payload, sent.content_type) == control


def test_a_frame_that_nobody_would_read_is_not_written() -> None:
    chunk = LogChunk(request_id="r", index=0, last=True, content=bytes(60_000))
    frame = UpFrame(station="A", boot=1, seq=1, at_ms=None, message=chunk)
    with pytest.raises(FrameTooLarge, match="at most 65536 bytes"):
        NATIVE.encode_up(frame, Encoding.JSON)


@pytest.mark.parametrize("encoding", Encoding)
def test_the_largest_log_chunk_fits(encoding: Encoding) -> None:
    chunk = LogChunk(request_id="r" * 256, index=2**62, last=True, content=bytes(40 * 1024))
    frame = UpFrame(station="A", boot=1, seq=1, at_ms=None, message=chunk)
    assert NATIVE.decode("vb/v1/A/up/event", NATIVE.encode_up(frame, encoding)) == frame


@pytest.mark.parametrize("encoding", Encoding)
def test_an_impossible_command_is_not_sent(encoding: Encoding) -> None:
    frame = CommandFrame(command_id="c", deadline_ms=1, attempt=1, command=LockSlot(slot=0))
    with pytest.raises(InvalidField, match=r"data\.slot: expected `int` >= 1, got 0"):
        NATIVE.encode_command("A", frame, encoding)


def test_dialects_are_found_by_name() -> None:
    assert registry.named("native") is NATIVE
    with pytest.raises(UnknownDialect, match="dialect 'morse': this build has native, volinks, relink"):
        registry.named("morse")


def test_every_down_kind_has_its_message() -> None:
    assert set(DOWN_KIND.values()) == set(DownKind)
