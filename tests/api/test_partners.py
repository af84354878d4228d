"""The portal: people of a partner see what is theirs, and of others not even that it exists."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from fleet.common.clock import utc_now
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.partners import payouts
from fleet.payments import ledger
from fleet.payments.models import AccountKind
from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.world import add_station

PARTNER = "/api/v1/partner"
ADMIN = "/api/v1/admin"


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def ok(answer: Any) -> Any:
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


@contextmanager
def partner(live: Live, boss: Person, name: str, kind: str = "franchise") -> Iterator[tuple[str, Person]]:
    """A partner with one person who is signed in."""
    id_ = ok(boss.http.post(f"{ADMIN}/partner", json={"name": name, "kind": kind}))["id"]
    with signed_in(live) as person:
        ok(boss.http.post(f"{ADMIN}/partner/{id_}/member", json={"address": person.user.email}))
        yield id_, person


def earn(live: Live, partner_id: str, minor: int) -> None:
    """Straight into the books: how shares come about is the business's test."""
    now = utc_now()
    with session_scope(live.engine) as session:
        ledger.transfer(
            session,
            debit=ledger.house_accounts(session, "EUR", now)[AccountKind.PARTNER_SHARES],
            credit=payouts.account_of(session, UUID(partner_id), "EUR", now),
            money=Money(minor, "EUR"),
            kind="partner_share",
            key=uuid4().hex,
            now=now,
        )


def test_partner_a_asks_for_everything_of_b(live: Live) -> None:
    """And gets 404, whatever it is; lists show nothing of it."""
    for code in ("A-1", "B-1", "B-2"):
        add_station(live, code)
    with operator(live) as boss, partner(live, boss, "A") as (a, ada), partner(live, boss, "B") as (b, bob):
        for code, owner in (("A-1", a), ("B-1", b), ("B-2", b)):
            ok(boss.http.put(f"{ADMIN}/partner/{owner}/station/{code}"))
        terms = {"kind": "percent", "basis_points": 3000, "currency": "EUR"}
        ok(boss.http.post(f"{ADMIN}/partner/{b}/agreement", json=terms))
        earn(live, b, 500)
        money = {"amount_minor": 100, "currency": "EUR"}
        payout = ok(bob.http.post(f"{PARTNER}/payout", json=money, headers=keyed()))["id"]
        vendor = ok(bob.http.post(f"{PARTNER}/vendor", json={"name": "Bob's kiosk"}))["id"]
        agreed = ok(bob.http.post(f"{PARTNER}/vendor/{vendor}/agreement", json=terms))["id"]
        own = ok(ada.http.post(f"{PARTNER}/vendor", json={"name": "Ada's kiosk"}))["id"]

        refused = [
            ada.http.get(f"{PARTNER}/station/B-1"),
            ada.http.get(f"{PARTNER}/payout/{payout}"),
            ada.http.post(f"{PARTNER}/payout/{payout}/cancel"),
            ada.http.get(f"{PARTNER}/vendor/{vendor}"),
            ada.http.get(f"{PARTNER}/vendor/{b}"),
            ada.http.get(f"{PARTNER}/vendor/{vendor}/member"),
            ada.http.post(f"{PARTNER}/vendor/{vendor}/member", json={"address": "x@example.com"}),
            ada.http.get(f"{PARTNER}/vendor/{vendor}/agreement"),
            ada.http.post(f"{PARTNER}/vendor/{vendor}/agreement", json=terms),
            ada.http.post(f"{PARTNER}/vendor/{vendor}/agreement/{agreed}/end"),
            ada.http.post(f"{PARTNER}/vendor/{own}/agreement/{agreed}/end"),
            ada.http.post(f"{PARTNER}/vendor/{own}/agreement", json={**terms, "station": "B-1"}),
            ada.http.put(f"{PARTNER}/station/B-1/holder/{own}"),
            ada.http.put(f"{PARTNER}/station/A-1/holder/{vendor}"),
            ada.http.put(f"{PARTNER}/station/A-1/holder/{b}"),
        ]
        assert [answer.status_code for answer in refused] == [404] * len(refused)
        nowhere = ada.http.get(f"{PARTNER}/station/NOT-THERE").json()
        there = refused[0].json()
        assert {key: nowhere[key] for key in ("code", "title")} == {key: there[key] for key in ("code", "title")}

        assert [row["code"] for row in ok(ada.http.get(f"{PARTNER}/station"))["items"]] == ["A-1"]
        for what in ("payout", "share", "agreement", "statement"):
            assert ok(ada.http.get(f"{PARTNER}/{what}"))["items"] == [], what
        assert [row["id"] for row in ok(ada.http.get(f"{PARTNER}/vendor"))["items"]] == [own]
        assert ok(ada.http.get(f"{PARTNER}/me"))["money"]["balance"]["amount_minor"] == 0
        assert "partner_share" not in ada.http.get(f"{PARTNER}/statement.csv").text
        assert ok(bob.http.get(f"{PARTNER}/payout/{payout}"))["state"] == "requested"  # nothing of it was touched


def test_riders_and_people_of_suspended_partners_see_nothing(live: Live) -> None:
    with operator(live) as boss, partner(live, boss, "A") as (a, ada), signed_in(live) as rider:
        assert rider.http.get(f"{PARTNER}/me").json()["code"] == "not_a_partner"
        ok(boss.http.post(f"{ADMIN}/partner/{a}/status", json={"status": "suspended"}))
        assert ada.http.get(f"{PARTNER}/station").status_code == 403
        ok(boss.http.post(f"{ADMIN}/partner/{a}/status", json={"status": "active"}))
        ok(boss.http.delete(f"{ADMIN}/partner/{a}/member/{ada.user.id}"))
        assert ada.http.get(f"{PARTNER}/station").status_code == 403
        assert live.client.get(f"{PARTNER}/me").status_code == 401


def test_a_franchise_runs_its_vendors_and_a_vendor_runs_nobody(live: Live) -> None:
    add_station(live, "A-1")
    with operator(live) as boss, partner(live, boss, "A") as (a, ada), signed_in(live) as vera:
        ok(boss.http.put(f"{ADMIN}/partner/{a}/station/A-1"))
        vendor = ok(ada.http.post(f"{PARTNER}/vendor", json={"name": "Kiosk", "time_zone": "Europe/Zurich"}))
        where = f"{PARTNER}/vendor/{vendor['id']}"
        ok(ada.http.post(f"{where}/member", json={"address": vera.user.email}))
        ok(ada.http.put(f"{PARTNER}/station/A-1/holder/{vendor['id']}"))
        terms = {"kind": "fixed", "fixed_minor": 20, "currency": "EUR"}
        agreed = ok(ada.http.post(f"{where}/agreement", json=terms))
        assert agreed["service_charge_bp"] == 0  # the house takes it of the franchise's rentals, once
        overlap = ada.http.post(f"{where}/agreement", json=terms)
        assert (overlap.status_code, overlap.json()["code"]) == (409, "agreement_overlap")
        assert ok(ada.http.post(f"{where}/agreement/{agreed['id']}/end"))["valid_to"] is not None

        for person in (ada, vera):
            rows = ok(person.http.get(f"{PARTNER}/station"))["items"]
            assert [(row["code"], row["partner"], row["banks"]) for row in rows] == [("A-1", "Kiosk", 1)]
        page = ok(vera.http.get(f"{PARTNER}/station/A-1"))
        assert (page["online"], page["banks_available"]) == (True, 1)
        assert "hardware_id" not in page
        assert vera.http.get(f"{PARTNER}/vendor").status_code == 403
        ok(ada.http.put(f"{PARTNER}/station/A-1/holder/{a}"))
        assert vera.http.get(f"{PARTNER}/station/A-1").status_code == 404
        both = {"kind": "percent", "basis_points": 1, "fixed_minor": 1, "currency": "EUR"}
        assert ada.http.post(f"{where}/agreement", json=both).status_code == 422


def test_a_payout_from_request_to_bank(live: Live) -> None:
    with operator(live) as boss, partner(live, boss, "A") as (a, ada):
        earn(live, a, 500)
        money = {"amount_minor": 400, "currency": "EUR"}
        key = keyed()
        asked = [ok(ada.http.post(f"{PARTNER}/payout", json=money, headers=key)) for _ in range(2)]
        assert asked[0] == asked[1]
        too_much = ada.http.post(f"{PARTNER}/payout", json=money, headers=keyed())
        assert (too_much.status_code, too_much.json()["code"]) == (402, "insufficient_funds")
        assert [row["id"] for row in ok(boss.http.get(f"{ADMIN}/payout"))["items"]] == [asked[0]["id"]]
        where = f"{ADMIN}/payout/{asked[0]['id']}"
        early = boss.http.post(f"{where}/complete", json={"reference": "SEPA-1"}, headers=keyed())
        assert (early.status_code, early.json()["code"]) == (409, "illegal_transition")
        ok(boss.http.post(f"{where}/approve"))
        ok(boss.http.post(f"{where}/process"))
        done = ok(boss.http.post(f"{where}/complete", json={"reference": "SEPA-1"}, headers=keyed()))
        assert (done["state"], done["reference"]) == ("completed", "SEPA-1")
        own = ok(ada.http.get(f"{PARTNER}/me"))["money"]
        assert (own["balance"]["amount_minor"], own["held"]["amount_minor"]) == (100, 0)
        lines = ok(ada.http.get(f"{PARTNER}/statement"))["items"]
        assert [(line["text"], line["balance_after"]["amount_minor"]) for line in lines] == [
            ("Payout", 100),
            ("Share of a rental", 500),
        ]
        table = ada.http.get(f"{PARTNER}/statement.csv").text.splitlines()
        assert [row.split(",")[3:5] for row in table] == [
            ["amount_minor", "balance_minor"],
            ["-400", "100"],
            ["500", "500"],
        ]
        assert ok(boss.http.get(f"{ADMIN}/partner/{a}"))["money"]["available"]["amount_minor"] == 100
        assert ok(boss.http.get(f"{ADMIN}/ledger/proof"))["problems"] == []


@pytest.mark.parametrize(("by", "periods"), [("day", 9), ("week", 2), ("month", 2)])
def test_revenue_has_every_period_and_knows_its_bounds(live: Live, by: str, periods: int) -> None:
    with operator(live) as boss, partner(live, boss, "A") as (_, ada):
        asked = {"from": "2026-10-24", "to": "2026-11-01", "by": by}  # the clocks change on 25 October
        rows = ok(ada.http.get(f"{PARTNER}/revenue", params=asked))["items"]
        assert (len(rows), {row["rentals"] for row in rows}) == (periods, {0})
        backwards = {"from": "2026-11-01", "to": "2026-10-01"}
        assert ada.http.get(f"{PARTNER}/revenue", params=backwards).status_code == 422


def test_a_partner_orders_its_cabinet_and_sees_the_log(live: Live) -> None:
    for code in ("A-1", "B-1"):
        add_station(live, code)
    with operator(live) as boss, partner(live, boss, "A") as (a, ada), partner(live, boss, "B") as (b, bob):
        ok(boss.http.put(f"{ADMIN}/partner/{a}/station/A-1"))
        ok(boss.http.put(f"{ADMIN}/partner/{b}/station/B-1"))
        louder = {"type": "set_volume", "args": {"volume_pct": 70}, "reason": "a noisy place"}
        key = keyed()
        sent, again = (ada.http.post(f"{PARTNER}/station/A-1/command", json=louder, headers=key) for _ in range(2))
        assert (sent.status_code, again.json()) == (202, sent.json())
        assert (sent.json()["state"], sent.json()["args"], sent.json()["by"]) == (
            "queued", {"volume_pct": 70}, str(ada.user.id),
        )  # fmt: skip
        assert ok(ada.http.get(f"{PARTNER}/command")) == {"items": [sent.json()], "next": None}
        assert ok(bob.http.get(f"{PARTNER}/command"))["items"] == []
        assert bob.http.post(f"{PARTNER}/station/A-1/command", json=louder, headers=keyed()).status_code == 404
        for wrong in ({"type": "eject_power_bank", "args": {"slot": 1}}, {"type": "set_volume"}, {"type": "sing"}):
            answer = ada.http.post(f"{PARTNER}/station/A-1/command", json=wrong, headers=keyed())
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert ada.http.post(f"{PARTNER}/station/A-1/command", json=louder).status_code == 422
