"""docs/protocol.md, 19: the worked example is what the code makes."""

import re
from pathlib import Path

import pytest

from firmware_protocol.dialects.native import NATIVE, sealed
from firmware_protocol.signing import mqtt_password, signing_key

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
SECRET = bytes(range(32))


def _block(kind: str) -> str:
    found = re.search(rf"^```{kind} signed\n(.+?)\n```", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("payload", [_block("json").encode(), bytes.fromhex(_block("cbor"))], ids=["json", "cbor"])
def test_the_example_is_genuine_and_holds_a_frame(payload: bytes) -> None:
    found = re.search(r"on topic `([^`]+)`. The signing key is\n`(\w+)`, the password `([\w-]+)`", TEXT)
    assert found is not None
    topic, key, password = found.groups()
    assert (bytes.fromhex(key), password) == (signing_key(SECRET), mqtt_password(SECRET))
    envelope = sealed.read(payload)
    assert envelope.is_genuine(topic, signing_key(SECRET))
    assert not envelope.is_genuine(topic + "x", signing_key(SECRET))
    assert (envelope.boot, envelope.seq, envelope.key) == (42, 2041, "00f1e2d3c4b5a697")
    assert NATIVE.decode(topic, envelope.body).station in topic
