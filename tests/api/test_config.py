from fleet.common.clock import utc_now
from fleet.common.models import Country
from fleet.config.service import PRIVATE, PUBLIC, put
from fleet.db import session_scope
from tests.api.conftest import Live


def test_public_values_only_with_an_entity_tag(live: Live) -> None:
    with session_scope(live.engine) as session:
        put(session, "support.email", "help@example.com", utc_now(), scope=PUBLIC)
        put(session, "internal.note", "nobody's business", utc_now(), scope=PRIVATE)
    answer = live.client.get("/api/v1/config/public")
    assert answer.json() == {
        "values": {"support.email": "help@example.com"}, "version": 1, "guests_allowed": True,
    }  # fmt: skip
    same = live.client.get("/api/v1/config/public", headers={"If-None-Match": f'W/{answer.headers["ETag"]}, "x"'})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    with session_scope(live.engine) as session:
        put(session, "support.email", "hello@example.com", utc_now())
    fresh = live.client.get("/api/v1/config/public", headers={"If-None-Match": answer.headers["ETag"]})
    assert (fresh.status_code, fresh.json()["version"]) == (200, 2)


def test_active_countries_by_name(live: Live) -> None:
    with session_scope(live.engine) as session:
        for code, name, active in (("DE", "Germany", True), ("AT", "Austria", True), ("XX", "Nowhere", False)):
            session.add(
                Country(
                    iso_code=code, name=name, dial_code="+1", currency="EUR", locale="de", time_zone="UTC",
                    active=active,
                )
            )  # fmt: skip
    items = live.client.get("/api/v1/config/countries").json()["items"]
    assert [item["iso_code"] for item in items] == ["AT", "DE"]
