import pytest

from firmware_protocol.config_keys import KEYS, fault_of
from firmware_protocol.types import ConfigValue


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("volume_pct", 0),
        ("volume_pct", None),
        ("language", "pt-BR"),
        ("night_mode", False),
        ("night_from", "22:30"),
        ("reboot_at", None),
        ("log_level", "debug"),
        ("welcome_text", ""),
        ("x_maker_trick", 3.5),
        ("x_maker_trick", "a" * 256),
    ],
)
def test_what_a_cabinet_understands_is_allowed(name: str, value: ConfigValue) -> None:
    assert fault_of(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("volume_pct", 101, "an integer from 0 to 100"),
        ("volume_pct", True, "an integer"),
        ("volume_pct", 50.0, "an integer"),
        ("volume_pct", "50", "an integer"),
        ("language", "german", "a language"),
        ("night_mode", 1, "true or false"),
        ("night_from", "24:00", "a time of day"),
        ("night_from", "22:30\n", "a time of day"),
        ("log_level", "loud", "error, warning, info, debug"),
        ("welcome_text", "a" * 201, "0 to 200 characters"),
        ("volume", 1, "there is no key volume"),
        ("Volume_pct", 1, "is not a key"),
        ("x_" + "a" * 63, 1, "is not a key"),
        ("x_long", "a" * 257, "at most 256"),
    ],
)
def test_everything_else_is_refused_with_a_reason(name: str, value: ConfigValue, says: str) -> None:
    fault = fault_of(name, value)
    assert fault is not None
    assert says in fault


def test_keys_are_named_once_and_well() -> None:
    assert all(name == key.name and fault_of(name, None) is None for name, key in KEYS.items())
