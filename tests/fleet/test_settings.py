from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from fleet.settings import DEVELOPMENT_SECRET, Environment, Settings

OWN = {
    "secret_key": SecretStr("a" * 44),
    "sandbox_webhook_secret": SecretStr("b" * 44),
    "token_private_key": SecretStr("c"),
}


def production(**changes: object) -> Settings:
    return Settings(environment=Environment.PRODUCTION, **(OWN | changes))  # type: ignore[arg-type]  # by field name


def test_development_needs_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOLTBAY_SECRET_KEY", raising=False)
    assert Settings().secret_key.get_secret_value() == DEVELOPMENT_SECRET
    assert not Settings().production


@pytest.mark.parametrize("name", OWN)
def test_production_refuses_secrets_that_everybody_knows(name: str) -> None:
    assert production().production
    default = Settings.model_fields[name].default
    with pytest.raises(ValidationError, match=f"VOLTBAY_{name.upper()}"):
        production(**{name: default})


@pytest.mark.parametrize("name", ["secret_key", "sandbox_webhook_secret"])
def test_production_refuses_short_secrets(name: str) -> None:
    with pytest.raises(ValidationError, match=f"VOLTBAY_{name.upper()}"):
        production(**{name: SecretStr("a" * 31)})


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`VOLTBAY_SECRET_KEY=` in a file of settings is a secret nobody has filled in yet."""
    monkeypatch.setenv("VOLTBAY_SECRET_KEY", "")
    monkeypatch.setenv("VOLTBAY_ENVIRONMENT", "production")
    with pytest.raises(ValidationError, match="VOLTBAY_SECRET_KEY"):
        Settings()


def test_secrets_are_not_printed() -> None:
    assert DEVELOPMENT_SECRET not in repr(Settings())


def test_purposes_have_keys_of_their_own() -> None:
    settings = production()
    assert settings.secret_bytes("a") == settings.secret_bytes("a") != settings.secret_bytes("b")
    assert settings.secret_bytes("a") != production(secret_key=SecretStr("o" * 44)).secret_bytes("a")


def test_long_secrets_count_to_their_end() -> None:
    """A passphrase of more than 64 characters that differs only after them is another secret."""
    one, other = (production(secret_key=SecretStr("x" * 64 + end)) for end in "ab")
    assert one.secret_bytes("a") != other.secret_bytes("a")


def test_addresses_come_from_the_names_everybody_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/db")
    monkeypatch.setenv("VOLTBAY_HOME", str(tmp_path))
    settings = Settings()
    assert settings.database_url.get_secret_value() == "postgresql://h/db"
    assert settings.home == tmp_path


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().home = Path()  # type: ignore[misc]  # that is the point
