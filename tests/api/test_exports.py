"""What happened, as CSV: rentals and their money over HTTP."""

import csv
import io
from datetime import timedelta

from api.admin.exports import _HAPPENED, Export
from fleet.common.clock import utc_now
from fleet.stations.exports import EXPORTS
from tests.api.conftest import Live
from tests.api.people import Person, operator, signed_in
from tests.api.test_payments import keyed, top_up
from tests.api.test_rentals import owe
from tests.api.world import add_station, add_tariff

PATH = "/api/v1/admin/export"


def exported(boss: Person, what: str, **params: str) -> list[dict[str, str]]:
    answer = boss.http.get(f"{PATH}/{what}.csv", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8"), answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_every_list_has_its_name() -> None:
    assert {each.value for each in Export} == {*_HAPPENED, *EXPORTS}


def test_a_rental_and_its_money(live: Live) -> None:
    add_station(live)
    add_tariff(live)
    with operator(live) as boss, signed_in(live) as rider:
        rental = owe(live, rider)
        body = {"rental_id": rental["id"], "amount_minor": 50, "reason": "=HYPERLINK(1)"}
        assert rider.http.post("/api/v1/payment/refund", json=body, headers=keyed()).status_code == 201
        [row] = exported(boss, "rentals")
        assert (row["id"], row["bank"], row["station_out"], row["station_in"], row["state"]) == (
            rental["id"], rental["power_bank"], "ZRH-0001", "ZRH-0001", "completed",
        )  # fmt: skip
        assert (row["price_minor"], row["charged_minor"], row["due_minor"]) == ("600", "500", "100")
        assert [each["total_minor"] for each in exported(boss, "invoices")] == ["600"]
        assert [(each["rental_id"], each["open_minor"]) for each in exported(boss, "debts")] == [(rental["id"], "100")]
        [refund] = exported(boss, "refunds")
        assert (refund["state"], refund["reason"]) == ("requested", "'=HYPERLINK(1)")
        moved = [(each["kind"], each["debit"], each["credit"]) for each in exported(boss, "transfers")]
        assert ("rental_hold", "wallet", "revenue") in moved
        assert [exported(boss, what) for what in ("withdrawals", "shares", "payouts")] == [[], [], []]


def test_of_a_span_only(live: Live) -> None:
    with operator(live) as boss, signed_in(live) as rider:
        top_up(rider)
        hour = timedelta(hours=1)
        before, after = (utc_now() - hour).isoformat(), (utc_now() + hour).isoformat()
        assert len(exported(boss, "transfers", since=before, until=after)) == 1
        assert exported(boss, "transfers", since=after) == exported(boss, "transfers", until=before) == []
        wrong = boss.http.get(f"{PATH}/stations.csv", params={"since": before})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "since")
        assert boss.http.get(f"{PATH}/transfers.csv", params={"since": "yesterday"}).status_code == 422
        assert rider.http.get(f"{PATH}/transfers.csv").status_code == 403
