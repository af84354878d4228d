from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from fleet.common.clock import utc_now
from fleet.common.models import OutboxEvent
from fleet.db import session_scope
from fleet.users import otp
from fleet.users.models import OtpChallenge, SandboxMessage, User, UserStatus
from fleet.users.senders import SandboxSender
from fleet.users.service import set_status
from tests.api.conftest import Live
from tests.api.people import signed_in


def code_for(live: Live, destination: str) -> str:
    """The code as its addressee reads it: delivered by the sandbox sender, taken from the inbox."""
    with session_scope(live.engine) as session:
        challenge = session.scalars(
            select(OtpChallenge)
            .where(OtpChallenge.destination == destination)
            .order_by(OtpChallenge.created_at.desc())
            .limit(1)
        ).one()
        otp.deliver_code(session, challenge.id, SandboxSender(), utc_now(), live.settings)
    inbox = live.client.get("/sandbox/messages", params={"destination": destination}).json()
    body: str = inbox["items"][0]["body"]
    return body.split(" ", 1)[0]


def ask(live: Live, email: str) -> None:
    assert live.client.post("/api/v1/user/auth/code", json={"email": email}).status_code == 202


def test_sign_up_then_sign_in_by_code(live: Live) -> None:
    asked = live.client.post("/api/v1/user/auth/code", json={"email": " Ada@Example.com "})
    assert asked.status_code == 202
    assert asked.json()["destination"] == "ada@example.com"
    with session_scope(live.engine) as session:
        event = session.scalars(select(OutboxEvent).where(OutboxEvent.name == "users.OtpRequested")).one()
        # The code is in no event and in no table.
        assert set(event.payload) == {"challenge_id"}
    answer = live.client.post(
        "/api/v1/user/auth/verify", json={"email": "ada@example.com", "code": code_for(live, "ada@example.com")}
    )
    assert answer.status_code == 200
    signed = answer.json()
    assert (signed["new"], signed["token_type"], signed["expires_in"]) == (True, "Bearer", 900)
    assert signed["user"]["email"] == "ada@example.com"
    me = live.client.get("/api/v1/user/me", headers={"Authorization": f"Bearer {signed['access_token']}"})
    assert me.json() == signed["user"]


def test_answer_does_not_tell_whether_there_is_an_account(live: Live) -> None:
    with signed_in(live) as person:
        known = live.client.post("/api/v1/user/auth/code", json={"email": person.user.email})
        unknown = live.client.post("/api/v1/user/auth/code", json={"email": "nobody@example.com"})
    assert known.status_code == unknown.status_code == 202
    assert known.json().keys() == unknown.json().keys()


def test_wrong_code_counts_and_the_count_survives_the_error(live: Live) -> None:
    ask(live, "ada@example.com")
    right = code_for(live, "ada@example.com")
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"
    for _ in range(5):
        answer = live.client.post("/api/v1/user/auth/verify", json={"email": "ada@example.com", "code": wrong})
        assert (answer.status_code, answer.json()["code"]) == (401, "code_refused")
    answer = live.client.post("/api/v1/user/auth/verify", json={"email": "ada@example.com", "code": right})
    assert answer.status_code == 401


def test_second_code_at_once_is_refused_with_the_time_to_wait(live: Live) -> None:
    ask(live, "ada@example.com")
    again = live.client.post("/api/v1/user/auth/code", json={"email": "ada@example.com"})
    assert (again.status_code, again.json()["code"]) == (429, "too_many_codes")
    assert 0 < int(again.headers["Retry-After"]) <= 30


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"email": "a@b.ch", "phone": "+41791234567"}, "body"),
        ({"email": "a@b.ch", "master": True}, "body.master"),
        ({"email": "not an address"}, None),
        ({"phone": "12"}, None),
    ],
)
def test_bad_destinations(live: Live, body: dict[str, object], field: str | None) -> None:
    answer = live.client.post("/api/v1/user/auth/code", json=body)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == ("validation_failed" if field else "invalid_input")
    assert problem["field"] == (field or "destination")


def test_refresh_rotates_and_reuse_ends_the_session(live: Live) -> None:
    with signed_in(live) as person:
        first = person.tokens.refresh_token
        fresh = live.client.post("/api/v1/user/auth/refresh", json={"refresh_token": first})
        assert fresh.status_code == 200
        assert fresh.json()["refresh_token"] != first
        stolen = live.client.post("/api/v1/user/auth/refresh", json={"refresh_token": first})
        assert (stolen.status_code, stolen.json()["code"]) == (401, "token_refused")
        # The reuse was committed: the honest one must sign in again, too.
        honest = live.client.post("/api/v1/user/auth/refresh", json={"refresh_token": fresh.json()["refresh_token"]})
        assert honest.status_code == 401
        assert person.http.get("/api/v1/user/me").status_code == 401


def test_sign_out_ends_access_at_once(live: Live) -> None:
    with signed_in(live) as person:
        assert person.http.post("/api/v1/user/auth/sign-out").status_code == 204
        gone = person.http.get("/api/v1/user/me")
        assert (gone.status_code, gone.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x.y.z", "Basic YTpi", "bearer eyJhbGciOiJub25lIn0.e30."])
def test_no_valid_token(live: Live, header: str) -> None:
    answer = live.client.get("/api/v1/user/me", headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def test_token_in_the_address_is_no_token(live: Live) -> None:
    with signed_in(live) as person:
        answer = live.client.get("/api/v1/user/me", params={"access_token": person.tokens.access_token})
    assert answer.status_code == 401


def test_suspended_rider_is_out_at_once(live: Live) -> None:
    with signed_in(live) as person:
        with session_scope(live.engine) as session:
            set_status(session, person.user.id, UserStatus.SUSPENDED, actor_id=None, reason="fraud", now=utc_now())
        answer = person.http.get("/api/v1/user/me")
        assert (answer.status_code, answer.json()["code"]) == (403, "user_suspended")


def test_profile_is_patched_and_checked(live: Live) -> None:
    with signed_in(live) as person:
        answer = person.http.patch("/api/v1/user/me", json={"name": " Ada  L. ", "time_zone": "Europe/Zurich"})
        assert answer.status_code == 200
        assert (answer.json()["name"], answer.json()["time_zone"]) == ("Ada L.", "Europe/Zurich")
        assert person.http.get("/api/v1/user/me").json() == answer.json()
        wrong = person.http.patch("/api/v1/user/me", json={"time_zone": "Mars/Olympus"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "time_zone")
        forbidden = person.http.patch("/api/v1/user/me", json={"role": "operator"})
        assert (forbidden.status_code, forbidden.json()["field"]) == (422, "body.role")


def test_sessions_are_listed_and_revoked_by_their_owner_only(live: Live) -> None:
    with signed_in(live) as person, signed_in(live) as other:
        listed = person.http.get("/api/v1/user/sessions").json()["items"]
        assert [(item["user_agent"], item["current"]) for item in listed] == [("tests", True)]
        path = f"/api/v1/user/sessions/{listed[0]['id']}"
        assert other.http.delete(path).status_code == 404
        assert person.http.delete(f"/api/v1/user/sessions/{uuid4()}").status_code == 404
        assert person.http.delete(path).status_code == 204
        assert person.http.get("/api/v1/user/me").status_code == 401


def test_inbox_page_shows_codes_and_escapes_what_it_shows(live: Live, now: datetime) -> None:
    assert "Nothing yet" in live.client.get("/sandbox/inbox").text
    with session_scope(live.engine) as session:
        session.add(SandboxMessage(destination="<b>x@y.ch", body="123456 is your code <script>", sent_at=now))
        session.add(SandboxMessage(destination="old@y.ch", body="hello", sent_at=now - timedelta(hours=1)))
    page = live.client.get("/sandbox/inbox")
    assert '<div class="code">123456</div>' in page.text
    assert "&lt;b&gt;x@y.ch" in page.text
    assert "&lt;script&gt;" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    items = live.client.get("/sandbox/messages").json()["items"]
    assert [item["destination"] for item in items] == ["<b>x@y.ch", "old@y.ch"]


def test_new_account_is_a_rider(live: Live) -> None:
    ask(live, "ada@example.com")
    code = code_for(live, "ada@example.com")
    signed = live.client.post("/api/v1/user/auth/verify", json={"email": "ada@example.com", "code": code}).json()
    with session_scope(live.engine) as session:
        assert session.get_one(User, UUID(signed["user"]["id"])).role == "rider"
