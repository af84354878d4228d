"""Chapters 16 and 17 of docs/protocol.md: the worked example is the code's, every code and key is explained."""

from firmware_protocol.config_keys import KEYS
from firmware_protocol.firmware import errors, example
from firmware_protocol.firmware.documents import canonical, read_root
from firmware_protocol.firmware.envelope import signed_bytes, write_envelope
from firmware_protocol.limits import MAX_LOG_CHUNKS, MAX_LOG_INDEXES, MAX_MANIFEST_BYTES
from tests.docs.test_protocol_document import TEXT


def test_the_worked_example_is_printed_as_it_is() -> None:
    for printed in (
        canonical(read_root(example.ROOT)),
        write_envelope(example.ROOT),
        example.SIGNED_RELEASE.payload,
        example.BUNDLE,
    ):
        assert f"```json\n{printed.decode()}\n```" in TEXT
    begins = signed_bytes(example.SIGNED_RELEASE)[: -len(example.SIGNED_RELEASE.payload) - 1].decode()
    assert f"`{begins}`" in TEXT


def test_every_reason_to_refuse_is_explained() -> None:
    for cls in errors.FirmwareRefused.__subclasses__():
        assert f"| `{cls.code}` |" in TEXT


def test_every_key_is_explained() -> None:
    for key in KEYS.values():
        assert f"| `{key.name}` |" in TEXT
        assert key.meaning in TEXT


def test_bounds_are_those_of_the_code() -> None:
    assert f"{MAX_MANIFEST_BYTES:,}".replace(",", " ") in TEXT
    assert f"| pieces of one log; asked for again at once | {MAX_LOG_CHUNKS}; {MAX_LOG_INDEXES} |" in TEXT
