import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text

from firmware_protocol.messages import PowerBankEjected
from fleet.common.clock import utc_now
from fleet.common.idempotency import KEPT, forget_old
from fleet.db import session_scope
from fleet.devices import dead_letters
from fleet.devices.dead_letters import Rejected
from fleet.devices.models import DeviceCommand
from fleet.stations.models import PowerBank
from fleet.users import audit
from fleet.users.models import UserAuditLog
from tests.api.conftest import Live
from tests.api.people import operator, signed_in
from tests.api.world import Cabinet, add_station, add_tariff, give_money

ADMIN = "/api/v1/admin"
NEW = {"code": "NEW-1", "name": "New", "latitude": 47.4, "longitude": 8.5, "slots": 3}


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid4().hex}


def acts(live: Live) -> list[str]:
    with session_scope(live.engine) as session:
        return list(session.scalars(select(UserAuditLog.action).order_by(UserAuditLog.id)))


def test_every_operation_of_operators_is_theirs_alone(live: Live) -> None:
    document = live.client.get("/api/openapi.json").json()
    checked = 0
    with signed_in(live) as rider:
        for path, methods in document["paths"].items():
            if "/admin/" not in path:
                continue
            for method, operation in methods.items():
                where = path.format(**_anything(document, operation))
                body = _example(document, operation)
                nobody = live.client.request(method, where, json=body, headers=keyed())
                assert nobody.status_code == 401, operation["operationId"]
                answer = rider.http.request(method, where, json=body, params={"q": "ada"}, headers=keyed())
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), operation["operationId"]
                checked += 1
    assert checked >= 25
    assert acts(live) == []


def _anything(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, object]:
    """A value of the right type for each parameter in the path."""
    found: dict[str, object] = {}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            schema = parameter["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            by_type = {"integer": 1, "string": str(uuid4()) if schema.get("format") == "uuid" else "CH"}
            found[parameter["name"]] = schema["enum"][0] if "enum" in schema else by_type[schema["type"]]
    return found


def _example(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    if "example" in content:
        return content["example"]
    schema = document["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[1]]
    examples = schema.get("examples")
    return examples[0] if examples else {name: field["examples"][0] for name, field in schema["properties"].items()}


def test_demoted_operator_is_out_at_once(live: Live) -> None:
    with operator(live) as boss:
        assert boss.http.get(f"{ADMIN}/station").status_code == 200
        with session_scope(live.engine) as session:
            session.execute(text("UPDATE app_user SET role = 'rider'"))
        assert boss.http.get(f"{ADMIN}/station").status_code == 403


def test_station_is_made_changed_and_taken_out_of_use(live: Live) -> None:
    with operator(live) as boss:
        made = boss.http.post(f"{ADMIN}/station", json=NEW)
        assert (made.status_code, made.json()["slots"], len(made.json()["slot_list"])) == (201, 3, 3)
        assert boss.http.post(f"{ADMIN}/station", json=NEW).json()["created_at"] == made.json()["created_at"]
        patched = boss.http.patch(
            f"{ADMIN}/station/NEW-1", json={"name": "Newer", "slots": 5, "status": "maintenance", "reason": "paint"}
        ).json()
        assert (patched["name"], patched["slots"], patched["status"]) == ("Newer", 5, "maintenance")
        assert (patched["latitude"], len(patched["slot_list"])) == (47.4, 5)
        slot = boss.http.patch(f"{ADMIN}/station/NEW-1/slot/2", json={"disabled_reason": "bent"})
        assert (slot.status_code, slot.json()["disabled_reason"]) == (200, "bent")
        back = boss.http.patch(f"{ADMIN}/station/NEW-1/slot/2", json={"disabled_reason": None})
        assert back.json()["disabled_reason"] is None
        assert boss.http.get(f"{ADMIN}/station/NEW-1").json()["name"] == "Newer"
        listed = boss.http.get(f"{ADMIN}/station", params={"q": "newer"}).json()["items"]
        assert [item["code"] for item in listed] == ["NEW-1"]
    assert acts(live) == ["station.create"] * 2 + ["station.change", "station.status", "slot.disable", "slot.enable"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "station", {**NEW, "latitude": 0, "longitude": 0}, 422, "latitude"),
        ("POST", "station", {**NEW, "time_zone": "Mars/Olympus"}, 422, "time_zone"),
        ("POST", "station", {**NEW, "country": "ZZ"}, 422, "country"),
        ("POST", "station", {**NEW, "slots": 0}, 422, "body.slots"),
        ("POST", "station", {**NEW, "dialect": "nativ"}, 422, "body.dialect"),
        ("PATCH", "station/NOPE", {"name": "x"}, 404, None),
        ("PATCH", "station/NOPE/slot/1", {"disabled_reason": None}, 404, None),
    ],
)
def test_station_nonsense_is_refused_and_not_audited(
    live: Live, method: str, path: str, body: dict[str, Any], status: int, field: str | None
) -> None:
    with operator(live) as boss:
        answer = boss.http.request(method, f"{ADMIN}/{path}", json=body)
        assert (answer.status_code, answer.json().get("field")) == (status, field)
    assert acts(live) == []


def import_(boss: httpx.Client, body: str, content_type: str) -> httpx.Response:
    return boss.post(f"{ADMIN}/station/import", content=body.encode(), headers={"Content-Type": content_type})


def test_import_from_csv_does_the_good_rows_and_names_the_others(live: Live) -> None:
    rows = (
        "\ufeffcode,name,lat,lon,slots,city,dialect\nA-1,One,47.1,8.1,4,Zug,volinks\nA-2,Two,abc,8.1,4,Zug,\n"
        ",Three,47.1,8.1,4,Zug,\nA-4,Four,47.1,8.1,4,Zug,Volinks\n"
    )
    with operator(live) as boss:
        first = import_(boss.http, rows, "text/csv; charset=utf-8").json()
        assert (first["created"], first["updated"], first["unchanged"]) == (1, 0, 0)
        assert [(problem["row"], problem["field"]) for problem in first["problems"]] == [
            (2, "latitude"), (3, "code"), (4, "dialect"),
        ]  # fmt: skip
        again = import_(boss.http, rows, "text/csv").json()
        assert (again["created"], again["unchanged"]) == (0, 1)
    assert acts(live) == ["station.import"] * 2


BAD_NAMES = ("a\0b", "\ud800")


def test_an_import_survives_text_that_cannot_be_kept(live: Live) -> None:
    rows = [{**NEW, "code": f"BAD-{number}", "name": name} for number, name in enumerate(BAD_NAMES)]
    with operator(live) as boss:
        found = import_(boss.http, json.dumps([*rows, NEW]), "application/json").json()
        assert found["created"] == 1
        assert [(each["row"], each["code"], each["field"]) for each in found["problems"]] == [
            (1, "BAD-0", "name"), (2, "BAD-1", "name"),
        ]  # fmt: skip
        head = ",".join(NEW)
        found = import_(boss.http, f"{head}\nBAD-2,a\0b,47,8,2\nNEW-2,Two,47,8,2\n", "text/csv").json()
        assert (found["created"], [each["code"] for each in found["problems"]]) == (1, ["BAD-2"])
        deep = import_(boss.http, "[" * 100_000, "application/json")
        assert (deep.status_code, deep.json()["field"]) == (422, "body")


@pytest.mark.parametrize("field", ["name", "latitude", "longitude", "slots", "time_zone"])
def test_what_a_station_must_have_is_not_taken_away(live: Live, field: str) -> None:
    add_station(live, "A-1")
    with operator(live) as boss:
        answer = boss.http.patch(f"{ADMIN}/station/A-1", json={field: None})
        assert (answer.status_code, answer.json()["field"]) == (422, f"body.{field}")
        assert boss.http.patch(f"{ADMIN}/station/A-1", json={"city": None}).json()["city"] is None


def test_reasons_fit_where_they_are_kept(live: Live) -> None:
    add_station(live, "A-1")
    paths = {"bank/A-1-B1/hold": 200, "bank/A-1-B1/release": 300, "station/A-1/credential/revoke": 200}
    with operator(live) as boss:
        for path, most in paths.items():
            assert boss.http.post(f"{ADMIN}/{path}", json={"reason": "x" * most}).status_code == 200, path
            answer = boss.http.post(f"{ADMIN}/{path}", json={"reason": "x" * (most + 1)})
            assert (answer.status_code, answer.json()["field"]) == (422, "body.reason"), path


def test_a_layer_may_have_a_long_name(live: Live) -> None:
    with operator(live) as boss:
        path = f"{ADMIN}/device-config/layer/model/{'M' * 100}"
        assert boss.http.put(path, json={"values": {"volume_pct": 40}, "expected_version": 0}).status_code == 200
    with session_scope(live.engine) as session:
        target = f"model:{'M' * 100}"
        assert [each.action for each in audit.about(session, target)] == ["device_config.put"]


def test_import_from_json(live: Live) -> None:
    with operator(live) as boss:
        answer = boss.http.post(f"{ADMIN}/station/import", json=[NEW, {**NEW, "code": "NEW-2"}])
        assert answer.json() == {"created": 2, "updated": 0, "unchanged": 0, "problems": []}
        for body, content_type in (("{", "application/json"), ('{"a": 1}', "application/json"), ("\xff", "text/csv")):
            refused = boss.http.post(
                f"{ADMIN}/station/import", content=body.encode("latin-1"), headers={"Content-Type": content_type}
            )
            assert (refused.status_code, refused.json()["field"]) == (422, "body")


def test_banks_are_entered_once(live: Live) -> None:
    with operator(live) as boss:
        body = {"serials": ["PB-1", "PB-2", "PB-1"]}
        assert boss.http.post(f"{ADMIN}/bank", json=body).json() == {"added": 2, "already_known": 0}
        assert boss.http.post(f"{ADMIN}/bank", json=body).json() == {"added": 0, "already_known": 2}
        assert boss.http.post(f"{ADMIN}/bank", json={"serials": ["no good"]}).status_code == 422


def test_command_is_queued_once_and_looked_up(live: Live) -> None:
    add_station(live)
    with operator(live) as boss:
        body = {"type": "eject_power_bank", "args": {"slot": 1}, "reason": "swollen"}
        key = keyed()
        queued = boss.http.post(f"{ADMIN}/station/ZRH-0001/command", json=body, headers=key)
        again = boss.http.post(f"{ADMIN}/station/ZRH-0001/command", json=body, headers=key)
        assert (queued.status_code, again.json()) == (202, queued.json())
        found = boss.http.get(f"{ADMIN}/command/{queued.json()['id']}").json()
        both = {"slot": 1, "serial": "ZRH-0001-B1"}  # or nothing moves
        assert (found["state"], found["type"], found["args"]) == ("queued", "eject_power_bank", both)
        listed = boss.http.get(f"{ADMIN}/station/ZRH-0001/command").json()["items"]
        assert listed == [found]
        assert boss.http.get(f"{ADMIN}/command/{uuid4()}").status_code == 404
    with session_scope(live.engine) as session:
        command = session.scalars(select(DeviceCommand)).one()
        assert command.requested_by == boss.user.id
        entry = session.scalars(select(UserAuditLog)).one()
        assert (entry.action, entry.target, entry.actor_id) == ("command.eject_power_bank", "ZRH-0001", boss.user.id)
        assert entry.detail["reason"] == "swollen"
        assert entry.request_id


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "explode"}, "body.type"),
        ({"type": "update_firmware", "args": {"manifest": "AA==", "url": "http://x"}}, "body.type"),
        ({"type": "rotate_credential", "args": {"url": "http://x", "token": "t"}}, "body.type"),
        ({"type": "eject_power_bank"}, "body.args"),
        ({"type": "lock_slot", "args": {"slot": 0}}, "body.args"),
        ({"type": "set_volume", "args": {"volume_pct": 101}}, "body.args"),
        ({"type": "query_inventory", "deadline_s": 0}, "body.deadline_s"),
    ],
)
def test_command_nonsense(live: Live, body: dict[str, Any], field: str) -> None:
    add_station(live)
    with operator(live) as boss:
        answer = boss.http.post(f"{ADMIN}/station/ZRH-0001/command", json=body, headers=keyed())
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_command_for_an_unknown_station(live: Live) -> None:
    with operator(live) as boss:
        answer = boss.http.post(f"{ADMIN}/station/NOPE/command", json={"type": "reboot"}, headers=keyed())
        assert (answer.status_code, answer.json()["code"]) == (404, "station_not_found")


def test_rental_and_its_trace(live: Live) -> None:
    add_tariff(live)
    add_station(live)
    with signed_in(live) as rider, operator(live) as boss:
        give_money(live, rider)
        rental = rider.http.post("/api/v1/rental/start", json={"station": "ZRH-0001"}, headers=keyed()).json()
        Cabinet(live).ejects(UUID(rental["id"]))
        got = boss.http.get(f"{ADMIN}/rental/{rental['id']}").json()
        assert (got["state"], got["user_id"]) == ("active", str(rider.user.id))
        trace = boss.http.get(f"{ADMIN}/rental/{rental['id']}/trace").json()
        times = [entry["at"] for entry in trace["entries"]]
        assert times == sorted(times)
        assert {"request", "transfer", "state_change", "command"} <= {entry["kind"] for entry in trace["entries"]}
        assert trace["rental"] == got
        for params in ({"state": "active"}, {"user_id": str(rider.user.id)}, {"station": "ZRH-0001"}):
            items = boss.http.get(f"{ADMIN}/rental", params=params).json()["items"]
            assert [item["id"] for item in items] == [rental["id"]]
        assert boss.http.get(f"{ADMIN}/rental", params={"state": "completed"}).json()["items"] == []
        for path in (f"rental/{uuid4()}", f"rental/{uuid4()}/trace"):
            assert boss.http.get(f"{ADMIN}/{path}").status_code == 404


def test_a_trace_names_every_request_that_changed_the_rental(live: Live) -> None:
    add_tariff(live)
    add_station(live)
    with signed_in(live) as rider, operator(live) as boss:
        give_money(live, rider)
        begun = keyed() | {"X-Request-Id": "phone-start-1"}
        rental = rider.http.post("/api/v1/rental/start", json={"station": "ZRH-0001"}, headers=begun).json()["id"]
        Cabinet(live).ejects(UUID(rental))
        problem = {"station": "ZRH-0001", "kind": "full"}
        path, headers = f"/api/v1/rental/{rental}/return-problem", keyed() | {"X-Request-Id": "phone-problem-1"}
        reported = rider.http.post(path, json=problem, headers=headers)
        assert reported.is_success, reported.text
        closed = boss.http.post(
            f"{ADMIN}/rental/{rental}/force-cancel",
            json={"reason": "the rider called"},
            headers=keyed() | {"X-Request-Id": "desk-cancel-1"},
        )
        assert closed.is_success, closed.text
        entries = boss.http.get(f"{ADMIN}/rental/{rental}/trace").json()["entries"]
        asked = [entry["detail"]["request_id"] for entry in entries if entry["kind"] == "request"]
        assert asked == ["phone-start-1", "phone-problem-1", "desk-cancel-1"]
        told = [e for e in entries if e["kind"] == "state_change" and "device_event" in e["detail"]["evidence"]]
        assert told, "the cabinet's own word has its event for evidence"
        assert all("request" not in entry["detail"]["evidence"] for entry in told)


def test_orphan_case_is_listed_and_resolved_once(live: Live) -> None:
    add_station(live)
    Cabinet(live).says(PowerBankEjected(slot=1, serial="ZRH-0001-B1", charge_pct=90))
    with operator(live) as boss:
        [case] = boss.http.get(f"{ADMIN}/orphan-case", params={"state": "open"}).json()["items"]
        assert (case["power_bank"], case["station"], case["slot"]) == ("ZRH-0001-B1", "ZRH-0001", 1)
        path = f"{ADMIN}/orphan-case/{case['id']}/resolve"
        done = boss.http.post(path, json={"resolution": "found on the floor"})
        assert (done.status_code, done.json()["state"]) == (200, "resolved")
        again = boss.http.post(path, json={"resolution": "twice"})
        assert (again.status_code, again.json()["code"]) == (409, "orphan_case_closed")
        assert boss.http.post(f"{ADMIN}/orphan-case/{uuid4()}/resolve", json={"resolution": "who"}).status_code == 404
    assert acts(live) == ["orphan_case.resolve"]


def test_dead_letters_are_listed_shown_and_discarded(live: Live) -> None:
    with session_scope(live.engine) as session:
        for number in range(3):
            dead_letters.record(
                session,
                Rejected("vb/v1/X/up/event", "X", b"\xff%d" % number, None, "malformed", "no frame", utc_now()),
            )
    with operator(live) as boss:
        first = boss.http.get(f"{ADMIN}/dead-letter", params={"limit": 2}).json()
        rest = boss.http.get(f"{ADMIN}/dead-letter", params={"limit": 2, "cursor": first["next"]}).json()
        ids = [item["id"] for item in first["items"] + rest["items"]]
        assert ids == sorted(ids, reverse=True)
        assert (len(ids), rest["next"]) == (3, None)
        shown = boss.http.get(f"{ADMIN}/dead-letter/{ids[0]}").json()
        assert (shown["payload_hex"], shown["payload_text"], shown["error_code"]) == ("ff32", None, "malformed")
        assert boss.http.post(f"{ADMIN}/dead-letter/{ids[0]}/discard").json()["state"] == "discarded"
        assert len(boss.http.get(f"{ADMIN}/dead-letter", params={"station": "X"}).json()["items"]) == 2
        assert boss.http.get(f"{ADMIN}/dead-letter/999999").status_code == 404
        asked = boss.http.post(f"{ADMIN}/dead-letter/{ids[1]}/replay")
        assert (asked.status_code, asked.json()["state"]) == (202, "requested")
        too_late = boss.http.post(f"{ADMIN}/dead-letter/{ids[0]}/replay")
        assert (too_late.status_code, too_late.json()["code"]) == (409, "conflict")
    assert acts(live) == ["dead_letter.discard", "dead_letter.replay"]


def test_wallet_is_adjusted_once_with_a_reason(live: Live) -> None:
    with operator(live) as boss, signed_in(live) as rider:
        path = f"{ADMIN}/user/{rider.user.id}/wallet/adjust"
        body = {"amount_minor": 500, "currency": "EUR", "reason": "goodwill"}
        key = keyed()
        first = boss.http.post(path, json=body, headers=key)
        assert boss.http.post(path, json=body, headers=key).json() == first.json()
        assert first.json()["wallet"]["available"]["amount_minor"] == 500
        assert rider.http.get("/api/v1/payment/wallet").json()["available"]["amount_minor"] == 500
        # Who gave it, and why, is not the rider's to see.
        statement = rider.http.get("/api/v1/payment/wallet/statement").text
        assert str(boss.user.id) not in statement
        assert "goodwill" not in statement
        too_much = boss.http.post(path, json={**body, "amount_minor": -501}, headers=keyed())
        assert (too_much.status_code, too_much.json()["code"]) == (402, "insufficient_funds")
        for wrong in ({**body, "amount_minor": 0}, {**body, "reason": ""}, {**body, "currency": "euro"}):
            assert boss.http.post(path, json=wrong, headers=keyed()).status_code == 422
        nobody = boss.http.post(f"{ADMIN}/user/{uuid4()}/wallet/adjust", json=body, headers=keyed())
        assert (nobody.status_code, nobody.json()["code"]) == (404, "user_not_found")
        proof = boss.http.get(f"{ADMIN}/ledger/proof").json()
        assert (proof["ok"], proof["problems"], proof["transfers"]) == (True, [], 1)
    assert acts(live) == ["wallet.adjust"]


def test_adjustment_under_a_key_of_long_ago_moves_money_again(live: Live) -> None:
    with operator(live) as boss, signed_in(live) as rider:
        path = f"{ADMIN}/user/{rider.user.id}/wallet/adjust"
        body = {"amount_minor": 500, "currency": "EUR", "reason": "goodwill"}
        first = boss.http.post(path, json=body, headers=keyed("1")).json()
        with session_scope(live.engine) as session:
            assert forget_old(session, utc_now() + KEPT + timedelta(seconds=1)) == 1
        second = boss.http.post(path, json=body, headers=keyed("1")).json()
        assert second["line"]["id"] != first["line"]["id"]
        assert second["wallet"]["available"]["amount_minor"] == 1000


def test_a_large_adjustment_takes_two_operators(live: Live) -> None:
    with operator(live) as boss, operator(live) as other, signed_in(live) as rider:
        path = f"{ADMIN}/user/{rider.user.id}/wallet/adjust"
        body = {"amount_minor": 5001, "currency": "EUR", "reason": "lost deposit"}
        asked = boss.http.post(path, json=body, headers=keyed()).json()
        assert (asked["adjustment"]["state"], asked["line"]) == ("pending", None)
        assert asked["wallet"]["balance"]["amount_minor"] == 0
        waiting = boss.http.get(f"{ADMIN}/adjustment", params={"state": "pending"}).json()["items"]
        assert [row["id"] for row in waiting] == [asked["adjustment"]["id"]]
        where = f"{ADMIN}/adjustment/{asked['adjustment']['id']}"
        own = boss.http.post(f"{where}/approve", json={}, headers=keyed())
        assert (own.status_code, own.json()["code"]) == (403, "second_person_needed")
        agreed = other.http.post(f"{where}/approve", json={"note": "seen"}, headers=keyed()).json()
        assert (agreed["adjustment"]["state"], agreed["adjustment"]["decided_by"]) == ("applied", str(other.user.id))
        assert agreed["line"]["balance_after"]["amount_minor"] == 5001
        late = boss.http.post(f"{where}/reject", json={"note": "changed my mind"})
        assert (late.status_code, late.json()["code"]) == (409, "already_decided")
        assert boss.http.get(f"{ADMIN}/ledger/proofs").json()["items"] == []
        mine = boss.http.get(f"{ADMIN}/ledger/account", params={"owner_id": str(rider.user.id)}).json()["items"]
        assert [(row["kind"], row["balance"]["amount_minor"]) for row in mine] == [("wallet", 5001)]
        house = boss.http.get(f"{ADMIN}/ledger/account", params={"currency": "EUR"}).json()["items"]
        given = next(row for row in house if row["kind"] == "adjustments")
        assert given["balance"]["amount_minor"] == 5001
        moved = boss.http.get(f"{ADMIN}/ledger/account/{given['id']}/transfer").json()["items"]
        assert [(row["kind"], row["posted_minor"]) for row in moved] == [("adjustment", 5001)]
    assert acts(live) == ["wallet.adjust", "adjustment.approve"]


def test_users_are_found_shown_and_suspended(live: Live) -> None:
    with operator(live) as boss, signed_in(live) as rider:
        assert rider.user.email is not None
        found = boss.http.get(f"{ADMIN}/user", params={"q": rider.user.email[:10]}).json()["items"]
        assert [user["id"] for user in found] == [str(rider.user.id)]
        shown = boss.http.get(f"{ADMIN}/user/{rider.user.id}").json()
        assert (shown["role"], shown["wallet"]["balance"]["amount_minor"], shown["open_rentals"]) == ("rider", 0, [])
        answer = boss.http.post(
            f"{ADMIN}/user/{rider.user.id}/status", json={"status": "suspended", "reason": "stolen card"}
        )
        assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
        assert rider.http.get("/api/v1/user/me").status_code == 403
        deleted = boss.http.post(f"{ADMIN}/user/{rider.user.id}/status", json={"status": "deleted", "reason": "no"})
        assert deleted.status_code == 422
        log = boss.http.get(f"{ADMIN}/audit", params={"about": str(rider.user.id)}).json()["items"]
        assert {entry["actor_id"] for entry in log} == {str(boss.user.id)}


def test_config_is_set_with_its_version(live: Live) -> None:
    with operator(live) as boss:
        path = f"{ADMIN}/config/support.email"
        body = {"value": "a@b.ch", "scope": "public", "expected_version": 0}
        assert boss.http.put(path, json=body).json()["version"] == 1
        stale = boss.http.put(path, json=body)
        assert (stale.status_code, stale.json()["version"]) == (409, 1)
        assert live.client.get("/api/v1/config/public").json()["values"] == {"support.email": "a@b.ch"}
        wrong_type = boss.http.put(f"{ADMIN}/config/payments.topup_limits", json={"value": "a lot"})
        assert wrong_type.status_code == 422
        assert [entry["key"] for entry in boss.http.get(f"{ADMIN}/config").json()["items"]] == ["support.email"]
    assert acts(live) == ["config.put"]


def test_bank_entered_by_an_operator_is_known(live: Live) -> None:
    with operator(live) as boss:
        boss.http.post(f"{ADMIN}/bank", json={"serials": ["PB-9"]})
    with session_scope(live.engine) as session:
        assert session.scalars(select(PowerBank)).one().known
