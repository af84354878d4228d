"""Refunds and withdrawals over HTTP: riders ask, operators decide."""

from uuid import uuid4

from pydantic import JsonValue
from sqlalchemy import select

from fleet.common.clock import utc_now
from fleet.common.models import Country
from fleet.config import service as config
from fleet.db import session_scope
from fleet.payments.outgoing import money_out, withdrawals
from fleet.payments.outgoing.models import MoneyOut
from fleet.payments.proof import prove
from fleet.users.models import User
from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.test_payment_methods import save
from tests.api.test_payments import SOMEBODYS, keyed, top_up

EUROS: dict[str, JsonValue] = {
    "EUR": {"min_minor": 100, "day_minor": 900, "month_minor": 900, "fee_minor": 10, "countries": ["CH"]}
}


def sent(live: Live) -> int:
    """What the worker does."""
    with session_scope(live.engine) as session:
        ids = session.scalars(select(MoneyOut.id)).all()
    provider = live.server.runtime.provider
    return sum(money_out.send(lambda: session_scope(live.engine), each, provider, utc_now()) for each in ids)


def test_a_top_up_is_refunded_when_an_operator_agrees(live: Live) -> None:
    with signed_in(live) as person, operator(live) as boss:
        intent = top_up(person).json()["id"]
        key = uuid4().hex
        body = {"intent_id": intent, "amount_minor": 400, "reason": "too much"}
        asked, again = (person.http.post("/api/v1/payment/refund", json=body, headers=keyed(key)) for _ in range(2))
        assert (asked.status_code, asked.json()["state"], again.json()) == (201, "requested", asked.json())
        refund = asked.json()["id"]
        assert person.http.post(f"/api/v1/admin/refund/{refund}/approve", headers=keyed()).status_code == 403
        listed = boss.http.get("/api/v1/admin/refund", params={"state": "requested"}).json()["items"]
        assert [(row["id"], row["user_id"]) for row in listed] == [(refund, str(person.user.id))]
        agreed = boss.http.post(f"/api/v1/admin/refund/{refund}/approve", headers=keyed())
        assert (agreed.status_code, agreed.json()["state"]) == (200, "approved")
        assert person.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 600
        assert sent(live) == 1
        mine = person.http.get("/api/v1/payment/refund").json()["items"]
        assert [(row["state"], row["amount"]["amount_minor"]) for row in mine] == [("completed", 400)]
        twice = boss.http.post(f"/api/v1/admin/refund/{refund}/approve", headers=keyed())
        assert (twice.status_code, twice.json()["code"]) == (409, "refund_not_open")
    with session_scope(live.engine) as session:
        assert prove(session, utc_now()).ok


def test_a_refund_is_rejected_with_a_reason(live: Live) -> None:
    with signed_in(live) as person, operator(live) as boss:
        body = {"intent_id": top_up(person).json()["id"], "reason": "changed my mind"}
        refund = boss.http.post("/api/v1/admin/refund", json=body, headers=keyed()).json()["id"]
        answer = boss.http.post(f"/api/v1/admin/refund/{refund}/reject", json={"note": "spend it"})
        assert (answer.status_code, answer.json()["state"], answer.json()["note"]) == (200, "rejected", "spend it")


def test_what_is_not_there_is_not_refunded(live: Live) -> None:
    with signed_in(live) as person, signed_in(live) as other, operator(live) as boss:
        intent = top_up(person).json()["id"]
        for body in ({"intent_id": intent}, {"intent_id": SOMEBODYS}, {"rental_id": SOMEBODYS}):
            answer = other.http.post("/api/v1/payment/refund", json=body | {"reason": "x"}, headers=keyed())
            assert answer.status_code == 404
        both = {"intent_id": intent, "rental_id": SOMEBODYS, "reason": "x"}
        assert person.http.post("/api/v1/payment/refund", json=both, headers=keyed()).status_code == 422
        for body in ({"intent_id": SOMEBODYS}, {"rental_id": SOMEBODYS}):
            answer = boss.http.post("/api/v1/admin/refund", json=body | {"reason": "x"}, headers=keyed())
            assert answer.status_code == 404


def _offered(live: Live, person: Person) -> None:
    """Withdrawals, where the rider lives."""
    with session_scope(live.engine) as session:
        session.add(Country(iso_code="CH", name="S", dial_code="+41", currency="CHF", locale="de", time_zone="x"))
        session.flush()
        config.put(session, withdrawals.POLICY.name, EUROS, utc_now())
        session.get_one(User, person.user.id).country = "CH"


def test_a_rejection_that_is_sent_again_with_its_key_has_the_first_answer(live: Live) -> None:
    """Without a key it is refused: it is rejected already. Whichever it is, the money comes back once."""
    with signed_in(live) as person, operator(live) as boss:
        top_up(person)
        _offered(live, person)
        body = {"amount_minor": 500, "currency": "EUR", "method_id": save(person).json()["id"]}
        withdrawal = person.http.post("/api/v1/payment/withdrawal", json=body, headers=keyed()).json()["id"]
        path, key = f"/api/v1/admin/withdrawal/{withdrawal}/reject", keyed()
        first, again = (boss.http.post(path, json={"note": "no"}, headers=key) for _ in range(2))
        assert (first.status_code, first.json()["state"], again.json()) == (200, "rejected", first.json())
        assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
        other = boss.http.post(path, json={"note": "yes"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert boss.http.post(path, json={"note": "no"}).status_code == 409
        assert person.http.get("/api/v1/payment/wallet").json()["balance"]["amount_minor"] == 1000


def test_a_withdrawal_is_asked_for_agreed_to_and_paid(live: Live) -> None:
    with signed_in(live) as person, operator(live) as boss:
        top_up(person)
        method = save(person).json()["id"]
        body = {"amount_minor": 500, "currency": "EUR", "method_id": method}
        refused = person.http.post("/api/v1/payment/withdrawal", json=body, headers=keyed())
        assert (refused.status_code, refused.json()["code"]) == (409, "withdrawals_not_offered")
        _offered(live, person)
        asked = person.http.post("/api/v1/payment/withdrawal", json=body, headers=keyed())
        assert (asked.status_code, asked.json()["fee"]["amount_minor"]) == (201, 10)
        again = person.http.post("/api/v1/payment/withdrawal", json=body, headers=keyed())
        assert (again.status_code, again.json()["code"], again.json()["period"]) == (409, "withdrawal_limit", "day")
        listed = boss.http.get("/api/v1/admin/withdrawal").json()["items"]
        withdrawal = listed[0]["id"]
        agreed = boss.http.post(f"/api/v1/admin/withdrawal/{withdrawal}/approve", headers=keyed())
        assert (agreed.status_code, agreed.json()["state"]) == (200, "approved")
        assert sent(live) == 1
        mine = person.http.get("/api/v1/payment/withdrawal").json()["items"]
        assert [row["state"] for row in mine] == ["completed"]
        late = person.http.post(f"/api/v1/payment/withdrawal/{withdrawal}/cancel")
        assert (late.status_code, late.json()["code"]) == (409, "withdrawal_not_open")
        rejected = boss.http.post(f"/api/v1/admin/withdrawal/{withdrawal}/reject", json={"note": "late"})
        assert rejected.status_code == 409
        assert person.http.get("/api/v1/payment/wallet").json()["balance"]["amount_minor"] == 500
