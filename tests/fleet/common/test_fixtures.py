import json
from pathlib import Path
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common import fixtures
from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.common.money import Money
from fleet.config import service as config
from fleet.config.models import AppConfig
from fleet.payments import topups
from tests.fleet.payments.conftest import NOW

INITIAL = Path(__file__).resolve().parents[3] / "fixtures" / "initial_data.json"


def test_the_initial_data_loads_as_often_as_one_likes(session: Session) -> None:
    data = fixtures.read(INITIAL)
    for _ in range(2):
        assert fixtures.load_countries(session, data["countries"]) == len(data["countries"]) > 50
        config.load_config(session, data["config"], NOW)
    assert session.scalar(select(func.count()).select_from(Country)) == len(data["countries"])
    assert session.scalar(select(func.count()).select_from(AppConfig)) == len(data["config"])
    assert topups.LIMITS.parse(config.public(session).values[topups.LIMITS.name])["EUR"].min_minor > 0


def test_every_country_is_real() -> None:
    for row in fixtures.read(INITIAL)["countries"]:
        assert row["dial_code"] == f"+{phonenumbers.country_code_for_region(row['iso_code'])}"
        assert ZoneInfo(row["time_zone"]).key == row["time_zone"]
        assert Money(0, row["currency"]).currency == row["currency"]
        assert row["locale"].endswith(row["iso_code"])


def test_what_an_operator_changed_stays(session: Session) -> None:
    rows = fixtures.read(INITIAL)
    fixtures.load_countries(session, rows["countries"])
    config.load_config(session, rows["config"], NOW)
    session.get_one(Country, "DE").active = False
    config.put(session, "app.support_email", "help@voltbay.example", NOW)
    session.flush()
    fixtures.load_countries(session, rows["countries"])
    assert config.load_config(session, rows["config"], NOW) == 0
    session.expire_all()
    assert not session.get_one(Country, "DE").active
    assert config.entry(session, "app.support_email").value == "help@voltbay.example"
    assert "Germany" not in [country.name for country in config.countries(session)]


def test_a_country_is_brought_up_to_date(session: Session) -> None:
    row = {
        "iso_code": "BG", "name": "Bulgaria", "dial_code": "+359", "currency": "BGN", "locale": "bg-BG",
        "time_zone": "Europe/Sofia",
    }  # fmt: skip
    fixtures.load_countries(session, [row])
    fixtures.load_countries(session, [row | {"currency": "EUR"}])
    session.expire_all()
    assert session.get_one(Country, "BG").currency == "EUR"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"countries": 3}', '{"contries": []}'])
def test_a_wrong_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=r"data\.json"):
        fixtures.read(path)


def test_keys_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"tariffs": [{"name": "t"}]}))
    assert fixtures.read(path) == {
        "countries": [],
        "config": [],
        "tax_rates": [],
        "tariffs": [{"name": "t"}],
        "alert_rules": [],
        "packages": [],
    }
