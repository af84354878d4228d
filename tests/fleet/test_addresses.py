"""Addresses of services: what is no address is said to be none, and never quoted."""

import pytest
from pydantic import SecretStr, ValidationError

from fleet.addresses import database_address, mqtt_address, redis_address
from fleet.settings import Settings


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("DATABASE_URL", "postgresql:///voltbay?host=/run/postgresql"),
        ("DATABASE_URL", "postgresql://one:5432,two:5432/voltbay"),
        ("DATABASE_URL", "postgres://u:p@h/voltbay"),
        ("REDIS_URL", "redis://:p@h:6379/0"),
        ("REDIS_URL", "rediss://h"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("MQTT_URL", "mqtt://u:p@h"),
        ("MQTT_URL", "mqtts://[::1]:8883"),
    ],
)
def test_what_works_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, variable: str, address: str) -> None:
    monkeypatch.setenv(variable, address)
    assert getattr(Settings(), variable.lower()).get_secret_value() == address


def test_sqlalchemys_address_of_a_database_is_one_for_all_who_connect() -> None:
    given = SecretStr("postgresql+psycopg2://u:p@h/voltbay")
    assert database_address(given).get_secret_value() == "postgresql://u:p@h/voltbay"


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "mysql://u:hunter2@h/x",
        "hunter2@h:5432",
        "",
        "mqtt://",
        "mqtt://u:hunter2@h:port",
        "mqtt://u:hunter2\u2100@h",
    ],
)
def test_what_is_no_address_is_refused_and_not_quoted(address: str) -> None:
    for check in (database_address, redis_address, mqtt_address):
        with pytest.raises(ValueError, match="expected ") as refused:
            check(SecretStr(address))
        assert "hunter2" not in str(refused.value)


def test_errors_of_settings_quote_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end up in logs, and what is in the environment beside the wrong setting are passwords."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/voltbay")
    monkeypatch.setenv("VOLTBAY_ENVIRONMENT", "production")
    with pytest.raises(ValidationError, match="VOLTBAY_SECRET_KEY") as refused:
        Settings()
    assert "hunter2" not in str(refused.value)
