from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from fleet.settings import Settings
from fleet.users import otp
from fleet.users.models import OtpChallenge
from fleet.users.tokens import Refused, SignedIn, TokenKeys
from tests.databases import Database
from tests.fleet.parallel import wide_engine

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PHONE = "+4915123456789"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, secret_key=SecretStr("test"))


@pytest.fixture
def keys(settings: Settings) -> TokenKeys:
    return TokenKeys.from_settings(settings)


@pytest.fixture
def shared(clean_database: Database) -> Iterator[Engine]:
    """A database of one's own with room for 50 transactions at once."""
    with wide_engine(clean_database.url, 50) as engine:
        yield engine


def sent_code(session: Session, settings: Settings, destination: str) -> str:
    """The newest code that was sent there."""
    query = select(OtpChallenge).where(OtpChallenge.destination == destination)
    newest = query.order_by(OtpChallenge.created_at.desc(), OtpChallenge.id.desc()).limit(1)
    return otp.code_of(session.scalars(newest).one(), settings)


def sign_in(
    session: Session, settings: Settings, keys: TokenKeys, destination: str = PHONE, now: datetime = NOW
) -> SignedIn | Refused:
    otp.request_code(session, destination, now, settings)
    code = sent_code(session, settings, destination)
    return otp.verify_code(session, destination, code, now, settings, keys=keys, user_agent="test")


def signed_in(
    session: Session, settings: Settings, keys: TokenKeys, destination: str = PHONE, now: datetime = NOW
) -> SignedIn:
    found = sign_in(session, settings, keys, destination, now)
    assert isinstance(found, SignedIn)
    return found
