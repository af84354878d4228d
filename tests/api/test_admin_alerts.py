"""Operators' alerts, rules and charts over HTTP."""

from datetime import timedelta

from sqlalchemy import text

from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.telemetry import alerting
from tests.api.conftest import Live
from tests.api.people import operator
from tests.api.test_admin import ADMIN, acts
from tests.api.world import add_station

RULE = {"name": "Off", "kind": "offline", "severity": "warning", "duration_s": 60, "station": "ZRH-0001"}


def sweep(live: Live) -> None:
    with session_scope(live.engine) as session:
        alerting.sweep(session, utc_now())


def test_a_rule_makes_an_alert_that_somebody_looks_after(live: Live) -> None:
    add_station(live)
    with session_scope(live.engine) as session:
        session.execute(
            text("UPDATE station SET online = false, online_changed_at = :at"), {"at": utc_now() - timedelta(hours=1)}
        )
    with operator(live) as boss:
        made = boss.http.post(f"{ADMIN}/alert-rule", json=RULE)
        assert made.status_code == 201, made.text
        assert boss.http.post(f"{ADMIN}/alert-rule", json=RULE).status_code == 409
        sweep(live)
        page = boss.http.get(f"{ADMIN}/alert", params={"station": "ZRH-0001", "kind": "offline"}).json()
        (alert,) = page["items"]
        assert (alert["rule"], alert["state"], alert["station"]) == ("Off", "open", "ZRH-0001")
        assert (alert["value"] >= 3600, alert["subject"].partition(":")[0]) == (True, "station")
        assert 'voltbay_alerts_open{kind="offline",severity="warning"} 1.0' in live.client.get("/metrics").text
        done = boss.http.post(f"{ADMIN}/alert/{alert['id']}/acknowledge", json={"note": "on my way"}).json()
        assert (done["state"], done["history"][-1]["note"]) == ("acknowledged", "on my way")
        rule = f"{ADMIN}/alert-rule/{made.json()['id']}"
        changed = boss.http.put(rule, json=RULE | {"duration_s": 86_400})
        assert (changed.status_code, changed.json()["duration_s"]) == (200, 86_400)
        assert boss.http.get(f"{ADMIN}/alert").json()["items"] == []
        assert 'voltbay_alerts_open{kind="offline",severity="warning"} 0.0' in live.client.get("/metrics").text
        closed = boss.http.get(f"{ADMIN}/alert", params={"state": "closed"}).json()["items"]
        assert [each["close_reason"] for each in closed] == ["rule_changed"]
        assert boss.http.post(f"{ADMIN}/alert/{alert['id']}/acknowledge", json={}).status_code == 409
        assert [each["name"] for each in boss.http.get(f"{ADMIN}/alert-rule").json()["items"]] == ["Off"]
        assert boss.http.delete(rule).status_code == 204
        assert boss.http.delete(rule).status_code == 404
        for path in ("alert/99999", "alert?station=NOPE"):
            assert boss.http.get(f"{ADMIN}/{path}").status_code == 404
        wrong = boss.http.post(f"{ADMIN}/alert-rule", json=RULE | {"threshold": 5})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "threshold")
        endless = boss.http.post(f"{ADMIN}/alert-rule", json=RULE | {"duration_s": 10**15})
        assert (endless.status_code, endless.json()["field"]) == (422, "body.duration_s")
    assert [act for act in acts(live) if act.startswith("alert")] == [
        "alert_rule.create",
        "alert.acknowledge",
        "alert_rule.change",
        "alert_rule.remove",
    ]


def test_charts_answer_for_any_range(live: Live) -> None:
    add_station(live)
    now = utc_now()
    with operator(live) as boss:
        for days, resolution in ((1, "5m"), (20, "1h"), (200, "1d")):
            span = {"start": (now - timedelta(days=days)).isoformat(), "end": now.isoformat()}
            chart = boss.http.get(f"{ADMIN}/station/ZRH-0001/charge", params=span).json()
            assert (chart["resolution"], chart["slots"]) == (resolution, [])
            for figure in ("temperature", "availability"):
                answer = boss.http.get(f"{ADMIN}/fleet/{figure}", params=span)
                assert answer.status_code == 200, answer.text
                assert 20 <= len(answer.json()["points"]) <= 24 * 32
        assert boss.http.get(f"{ADMIN}/station/NOPE/charge").status_code == 404
        slots = boss.http.get(f"{ADMIN}/station/ZRH-0001/health").json()["slots"]
        assert [(slot["score"], slot["history"]) for slot in slots] == [(100, [])] * 4
        bank = boss.http.get(f"{ADMIN}/bank/ZRH-0001-B1/health").json()
        assert (bank["score"], bank["fault"], bank["stuck"]) == (100, None, False)
        assert boss.http.get(f"{ADMIN}/bank/NOPE/health").status_code == 404
        back = {"start": now.isoformat(), "end": (now - timedelta(days=1)).isoformat()}
        assert boss.http.get(f"{ADMIN}/fleet/availability", params=back).status_code == 422
