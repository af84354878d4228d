"""Operators hold payments against the provider's list."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import update

from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.payments.providers.sandbox import Card
from fleet.payments.providers.sandbox.models import SandboxCharge
from fleet.payments.reconciliation.service import SETTLED_AFTER
from tests.api.conftest import Live
from tests.api.people import operator, signed_in
from tests.api.test_payments import SOMEBODYS, TEN, keyed, top_up


def test_what_differs_is_listed_and_repaired(live: Live) -> None:
    with signed_in(live) as person, operator(live) as boss:
        intent = top_up(person, Card.TIMEOUT_CHARGED).json()["id"]
        with session_scope(live.engine) as session:  # long ago, as the provider sees it
            session.execute(update(SandboxCharge).values(created_at=utc_now() - SETTLED_AFTER - timedelta(minutes=1)))
        key = keyed()
        made, again = (boss.http.post("/api/v1/admin/reconciliation", headers=key) for _ in range(2))
        assert (made.status_code, made.json()["differences"], again.json()) == (201, 1, made.json())
        listed = boss.http.get("/api/v1/admin/reconciliation").json()["items"]
        assert [row["id"] for row in listed] == [made.json()["id"]]
        found = boss.http.get(f"/api/v1/admin/reconciliation/{made.json()['id']}/difference").json()["items"]
        assert [(row["our_id"], row["ours"], row["theirs"], row["proposal"]) for row in found] == [
            (intent, "unknown", "succeeded", "apply")
        ]
        assert "voltbay_payment_differences 1.0" in live.client.get("/metrics").text
        path = f"/api/v1/admin/reconciliation/difference/{UUID(found[0]['id'])}/repair"
        assert person.http.post(path).status_code == 403
        assert boss.http.post(path).json()["repaired_at"] is not None
        assert person.http.get("/api/v1/payment/wallet").json()["balance"] == TEN
        assert "voltbay_payment_differences 0.0" in live.client.get("/metrics").text
        twice = boss.http.post(path)
        assert (twice.status_code, twice.json()["code"]) == (409, "nothing_to_repair")


def test_what_is_not_there(live: Live) -> None:
    with operator(live) as boss, signed_in(live) as person:
        assert boss.http.get(f"/api/v1/admin/reconciliation/{SOMEBODYS}/difference").status_code == 404
        assert boss.http.post(f"/api/v1/admin/reconciliation/difference/{SOMEBODYS}/repair").status_code == 404
        assert person.http.post("/api/v1/admin/reconciliation", headers=keyed()).status_code == 403
