"""What holds for every request, whatever its area."""

import json
import re
import time
from uuid import uuid4

import httpx
import pytest

from fleet.common.clock import utc_now
from fleet.db import create_engine_from, session_scope
from fleet.devices import presence
from tests.api.conftest import Live, Serve
from tests.api.people import signed_in
from tests.databases import DatabaseServer

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    found: dict[str, object] = answer.json()
    assert (found["status"], found["code"]) == (status, code)
    assert found["request_id"] == answer.headers["X-Request-Id"]
    return found


def test_request_id_is_made_taken_and_not_believed_when_odd(live: Live) -> None:
    assert UUID7.fullmatch(live.client.get("/health/live").headers["X-Request-Id"])
    given = live.client.get("/health/live", headers={"X-Request-Id": "app-4711.abc"})
    assert given.headers["X-Request-Id"] == "app-4711.abc"
    odd = live.client.get("/health/live", headers={"X-Request-Id": "a b;DROP"})
    assert UUID7.fullmatch(odd.headers["X-Request-Id"])


def test_the_bare_address_shows_the_documentation(live: Live) -> None:
    answer = live.client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/api/docs")


def test_unversioned_is_v1(live: Live) -> None:
    with signed_in(live) as person:
        assert person.http.get("/api/user/me").json() == person.http.get("/api/v1/user/me").json()


def test_errors_are_problems(live: Live) -> None:
    problem_of(live.client.get("/api/v1/nothing"), 404, "not_found")
    problem_of(live.client.get("/nothing"), 404, "not_found")
    wrong = live.client.delete("/api/v1/user/me")
    problem_of(wrong, 405, "method_not_allowed")
    assert wrong.headers["Allow"] == "GET, PATCH"
    found = problem_of(
        live.client.post("/api/v1/user/auth/verify", json={"email": "a@b.ch", "code": "1"}), 422, "validation_failed"
    )
    assert found["field"] == "body.code"
    problem_of(
        live.client.post("/api/v1/user/auth/code", content=b"{nonsense", headers={"Content-Type": "application/json"}),
        422,
        "validation_failed",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{nonsense", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b'{"name": NaN}', b'{"name": -Infinity}',
        b'{"name": "\\u0000"}', b'{"\\u0000": 1}', b'{"name": "\\ud800"}', b'{"name": [{"a": "\\udfff"}]}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_of_ours_is_a_wrong_value(live: Live, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    with signed_in(live) as person:
        answer = person.http.patch("/api/v1/user/me", content=body, headers=headers)
    found = problem_of(answer, 422, "validation_failed")
    assert str(found["field"]).startswith("body.")
    problem_of(live.client.patch("/api/v1/user/me", content=body, headers=headers), 401, "not_authenticated")


def test_escapes_of_what_can_be_kept_are_no_reason_to_refuse(live: Live) -> None:
    with signed_in(live) as person:
        for name in (b"\\ud83d\\ude00", b"\\\\u0000", b"\\u00e9"):
            body = b'{"name": "%s"}' % name
            answer = person.http.patch("/api/v1/user/me", content=body, headers={"Content-Type": "application/json"})
            assert answer.json()["name"] == json.loads(body)["name"]


@pytest.mark.parametrize("path", ["station?q=%00", "station?city=a%00b", "station?limit=5&cursor=%00", "station/%00"])
def test_addresses_hold_no_character_that_text_cannot_hold(live: Live, path: str) -> None:
    problem_of(live.client.get(f"/api/v1/{path}"), 422, "validation_failed")


def test_what_was_sent_is_not_repeated_in_errors(live: Live) -> None:
    answer = live.client.post("/api/v1/user/auth/refresh", json={"refresh_token": "short-secret"})
    assert answer.status_code == 422
    assert "short-secret" not in answer.text


def test_body_has_a_bound(serve: Serve) -> None:
    live = serve(request_body_max=1000)
    answer = live.client.post("/api/v1/user/auth/code", json={"email": "a" * 2000})
    problem_of(answer, 413, "too_large")
    chunked = live.client.post("/api/v1/user/auth/code", content=(b"x" * 500 for _ in range(10)))
    assert chunked.status_code == 413


def test_bug_is_500_with_nothing_but_the_request_id(live: Live) -> None:
    with session_scope(live.engine) as session:
        session.connection().exec_driver_sql("ALTER TABLE sandbox_message RENAME TO hidden")
    answer = live.client.get("/sandbox/messages")
    found = problem_of(answer, 500, "internal_error")
    assert "sandbox_message" not in answer.text
    assert set(found) == {"type", "title", "status", "code", "detail", "request_id"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_database_away_is_503_and_comes_back(live: Live, database_server: DatabaseServer) -> None:
    name = live.engine.url.database
    server = create_engine_from(database_server.url)
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as elsewhere:
        elsewhere.exec_driver_sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        elsewhere.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        answer = live.client.get("/sandbox/messages")
        problem_of(answer, 503, "try_again")
        assert answer.headers["Retry-After"] == "1"
        ready = live.client.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["database"]["ok"]) == (503, False)
        assert live.client.get("/health/live").status_code == 200
        elsewhere.exec_driver_sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    server.dispose()
    assert live.client.get("/sandbox/messages").status_code == 200


def test_security_headers(live: Live) -> None:
    headers = live.client.get("/api/v1/nothing").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Server" not in headers
    assert "Strict-Transport-Security" not in headers


def test_https_is_insisted_on_where_it_is_spoken(serve: Serve) -> None:
    live = serve(public_url="https://api.example.com")
    answer = httpx.get(f"http://127.0.0.1:{live.settings.http_port}/health/live")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_cors_only_by_setting(serve: Serve) -> None:
    asking = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    closed = serve()
    assert "Access-Control-Allow-Origin" not in closed.client.options("/api/v1/user/me", headers=asking).headers
    opened = serve(cors_origins=("https://app.example.com",))
    answer = opened.client.options("/api/v1/user/me", headers=asking)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    elsewhere = opened.client.options("/api/v1/user/me", headers={**asking, "Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in elsewhere.headers


def test_metrics_name_routes_by_template(live: Live) -> None:
    with signed_in(live) as person:
        person.http.delete("/api/v1/user/sessions/00000000-0000-7000-8000-000000000000")
        person.http.get("/api/v1/made/up/path")
    text = live.client.get("/metrics").text
    assert (
        'voltbay_http_requests_total{method="DELETE",route="/api/v1/user/sessions/{session_id}",status="404"} 1.0'
        in text
    )
    assert 'route="unmatched"' in text
    assert "made/up" not in text
    for name in ("voltbay_database_connections_in_use", "voltbay_waiters", "voltbay_http_request_seconds_bucket"):
        assert name in text


def test_readiness_names_what_is_missing(live: Live) -> None:
    alone = live.client.get("/health/ready")
    assert alone.status_code == 503
    checks = alone.json()["checks"]
    assert {name: check["ok"] for name, check in checks.items()} == {
        "database": True, "migrations": True, "broker": False, "redis": True,
    }  # fmt: skip
    with session_scope(live.engine) as session:
        presence.gateway_beat(session, name="g1", started_at=utc_now(), connected_since=utc_now(), now=utc_now())
    ready = live.client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    with session_scope(live.engine) as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '20200101_01'")
    old = live.client.get("/health/ready").json()["checks"]["migrations"]
    assert not old["ok"]
    assert "20200101_01" in old["detail"]


def test_lost_redis_is_told_and_stops_nothing(serve: Serve) -> None:
    live = serve(redis_url="redis://127.0.0.1:1/0", rate_limit_scale=1.0)
    with session_scope(live.engine) as session:
        presence.gateway_beat(session, name="g1", started_at=utc_now(), connected_since=utc_now(), now=utc_now())
    ready = live.client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["redis"]["ok"]) == (200, False)
    with signed_in(live) as person:
        answer = person.http.get("/api/v1/user/me")
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Remaining"] == "599"  # the process's own count


def test_rate_limits_are_told_and_hold(serve: Serve) -> None:
    live = serve(rate_limit_scale=0.01)  # 6 a minute for a user, 60 for an address
    with signed_in(live) as person, signed_in(live) as other:
        first = person.http.get("/api/v1/user/me")
        assert first.headers["RateLimit-Limit"] == "6"
        assert first.headers["RateLimit-Remaining"] == "5"
        assert 0 < int(first.headers["RateLimit-Reset"]) <= 60
        statuses = [person.http.get("/api/v1/user/me").status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        refused = person.http.get("/api/v1/user/me")
        found = problem_of(refused, 429, "too_many_requests")
        assert int(refused.headers["Retry-After"]) == found["retry_after_s"]
        # The same address, another rider.
        assert other.http.get("/api/v1/user/me").status_code == 200
        # What machines ask is not limited.
        assert live.client.get("/health/live").status_code == 200


def test_a_line_with_addresses_without_end_is_one_caller(serve: Serve) -> None:
    live = serve(rate_limit_scale=0.1)  # one code a minute for an address

    def ask(address: str) -> int:
        headers = {"X-Forwarded-For": address}
        body = {"email": f"{uuid4().hex}@example.com"}
        return live.client.post("/api/v1/user/auth/code", json=body, headers=headers).status_code

    callers = ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "192.0.2.7", "192.0.2.8")
    assert [ask(each) for each in callers] == [202, 429, 202, 202, 202]


def test_docs_need_nothing_from_elsewhere(live: Live) -> None:
    page = live.client.get("/api/docs")
    assert page.status_code == 200
    for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert address.startswith(("/api/docs/assets/", "data:"))
        if address.startswith("/"):
            assert live.client.get(address).status_code == 200
    assert live.client.get("/api/openapi.json").json()["openapi"] == "3.1.0"


def test_sandbox_is_absent_in_production(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # one test's own key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    live = serve(
        environment="production", secret_key="x" * 40, sandbox_webhook_secret="y" * 40, token_private_key=pem.decode()
    )
    assert live.client.get("/sandbox/inbox").status_code == 404
    assert live.client.get("/sandbox/messages").status_code == 404
    assert not [path for path in live.client.get("/api/openapi.json").json()["paths"] if "sandbox" in path]


def test_server_ends_in_order_while_clients_hang_on(serve: Serve) -> None:
    live = serve()
    with httpx.Client(base_url=live.url) as idle:
        idle.get("/health/live")  # keep-alive connection stays open
        began = time.monotonic()
        live.server.handle_exit(15, None)
        while live.server.started and time.monotonic() - began < 5:
            try:
                httpx.get(f"{live.url}/health/live", timeout=0.5)
            except httpx.HTTPError:
                break
            time.sleep(0.05)
    assert time.monotonic() - began < 4
