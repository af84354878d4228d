"""What operators enter of vendors' cabinets."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import profiles
from fleet.stations.models import Station
from fleet.users.models import UserAuditLog
from tests.api.conftest import Live
from tests.api.people import operator
from tests.api.world import add_station


def test_the_revision_of_a_cabinet_can_be_entered(live: Live) -> None:
    add_station(live, "R-1")
    path = "/api/v1/admin/station/R-1/cabinet"
    with operator(live) as someone:
        answers = [someone.http.patch(path, json={"revision": each}) for each in ("old", "new", "newest")]
        kept = someone.http.get(path).json()["revision"]
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert [answer.json()["revision"] for answer in answers[:2]] == ["old", "new"]
    assert kept == "new"


def test_a_secret_is_kept_sealed_and_never_shown(live: Live) -> None:
    add_station(live, "R-1")
    with session_scope(live.engine) as session:
        session.scalars(select(Station)).one().dialect = "relink"
    path = "/api/v1/admin/station/R-1/cabinet"
    change = {"secret": "of-this-cabinet", "tolerate_checksum": True, "forget_layout": True}
    with operator(live) as someone:
        before = someone.http.get(path).json()
        answer = someone.http.patch(path, json=change)
    assert (before["has_secret"], before["layout"], before["tolerate_checksum"]) == (False, None, False)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["has_secret"], answer.json()["tolerate_checksum"]) == (True, True)
    assert "of-this-cabinet" not in answer.text
    with Session(live.engine) as session:
        station = session.scalars(select(Station)).one()
        vault = Vault.of(live.settings, profiles.PURPOSE)
        from_database = profiles.known(session, [station.id], station.created_at, vault)[station.id]
        assert from_database.secret == b"of-this-cabinet"
        details = session.scalars(select(UserAuditLog.detail).where(UserAuditLog.action == "cabinet.change")).all()
        assert details == [{"tolerate_checksum": True, "forget_layout": True, "secret": True}]


def test_a_native_cabinet_gets_its_secret_for_a_claim_token_only(live: Live) -> None:
    add_station(live, "N-1")
    with operator(live) as someone:
        answer = someone.http.patch("/api/v1/admin/station/N-1/cabinet", json={"secret": "of-this-cabinet"})
    assert (answer.status_code, answer.json()["field"]) == (422, "secret")
    assert "claim token" in answer.json()["detail"]
