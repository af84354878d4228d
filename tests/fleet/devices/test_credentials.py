from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.common.vault import Unreadable, Vault
from fleet.devices import credentials
from fleet.devices.credentials import IssuedSecret, current_credential, replace_secret, revoke_all, secret_for
from fleet.devices.errors import UsernameTaken
from fleet.devices.identity_models import CredentialState, DeviceCredential
from fleet.devices.passwords import password_file
from fleet.stations.models import Station
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.parallel import together, wide_engine

VAULT = Vault(b"k" * 32)


@pytest.fixture
def station(session: Session, now: datetime) -> Station:
    return add_station(session, now)


def test_a_secret_is_told_again_until_it_is_replaced(session: Session, station: Station, now: datetime) -> None:
    first = secret_for(session, VAULT, station_id=station.id, username="A", now=now)
    again = secret_for(session, VAULT, station_id=station.id, username="A", now=now + timedelta(days=1))
    assert again == first
    assert len(first.secret) == 32
    assert len(first.password) == 43
    other = replace_secret(session, VAULT, station_id=station.id, username="A", now=now, reason="stolen")
    assert other.secret != first.secret
    assert secret_for(session, VAULT, station_id=station.id, username="A", now=now) == other
    old, new = session.scalars(select(DeviceCredential).order_by(DeviceCredential.id))
    assert (old.state, old.revoked_reason, new.state) == (CredentialState.REVOKED, "stolen", CredentialState.CURRENT)


def test_the_database_shows_no_secret(session: Session, station: Station, now: datetime) -> None:
    issued = secret_for(session, VAULT, station_id=station.id, username="A", now=now)
    row = session.scalars(select(DeviceCredential)).one()
    shown = repr({column.key: getattr(row, column.key) for column in DeviceCredential.__table__.columns})
    assert issued.password not in shown
    assert repr(issued.secret)[2:-1] not in shown
    assert issued.password not in repr(issued)


def test_a_secret_opens_in_its_own_row_and_with_its_own_key_only(
    session: Session, station: Station, now: datetime
) -> None:
    secret_for(session, VAULT, station_id=station.id, username="A", now=now)
    with pytest.raises(Unreadable):
        secret_for(session, Vault(b"other" * 8), station_id=station.id, username="A", now=now)
    row = session.scalars(select(DeviceCredential)).one()
    row.key_id = "another"
    session.flush()
    with pytest.raises(Unreadable):
        secret_for(session, VAULT, station_id=station.id, username="A", now=now)


def test_who_signs_does_not_tell_the_broker_the_secret(session: Session, station: Station, now: datetime) -> None:
    issued = secret_for(session, VAULT, station_id=station.id, username="A", now=now, signs=True)
    assert issued.password != IssuedSecret("A", issued.key_id, issued.secret, signs=False).password
    with pytest.raises(UsernameTaken):
        secret_for(session, VAULT, station_id=station.id, username="A", now=now, signs=False)


def test_two_stations_cannot_have_one_name(session: Session, station: Station, now: datetime) -> None:
    secret_for(session, VAULT, station_id=station.id, username="box-7", now=now)
    other = add_station(session, now, "B")
    with pytest.raises(UsernameTaken):
        secret_for(session, VAULT, station_id=other.id, username="box-7", now=now)


def test_what_was_revoked_leaves_the_name_free(session: Session, station: Station, now: datetime) -> None:
    secret_for(session, VAULT, station_id=station.id, username="box-7", now=now)
    assert revoke_all(session, station.id, "sold", now) == 1
    assert revoke_all(session, station.id, "sold", now) == 0
    assert current_credential(session, station.id) is None
    other = add_station(session, now, "B")
    secret_for(session, VAULT, station_id=other.id, username="box-7", now=now)


def test_unknown_station(session: Session, now: datetime) -> None:
    with pytest.raises(NotFound):
        secret_for(session, VAULT, station_id=0, username="A", now=now)


def test_ten_at_once_get_the_same(clean_database: Database, now: datetime) -> None:
    with Session(clean_database.engine) as session, session.begin():
        station_id = add_station(session, now).id

    with wide_engine(clean_database.url, 10) as engine:

        def ask(_number: int) -> str:
            with Session(engine) as session, session.begin():
                return secret_for(session, VAULT, station_id=station_id, username="A", now=now).password

        answers = together(10, ask)
    assert len(set(answers)) == 1
    assert isinstance(answers[0], str)
    with Session(clean_database.engine) as session:
        assert session.scalar(select(func.count()).select_from(DeviceCredential)) == 1


def test_the_file_has_a_line_for_each(now: datetime) -> None:
    lines = password_file({"a": "1", "b": "2"}).splitlines()
    assert [line.split(":$7$101$")[0] for line in lines] == ["a", "b"]
    assert credentials.PURPOSE
