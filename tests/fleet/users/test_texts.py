"""Against a real HTTP server in this process, which checks the signature by the specification's own words."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from fleet.settings import Environment, Settings, webhook_key
from fleet.users import otp, texts
from fleet.users.errors import MessageNotAccepted, NoSender
from fleet.users.messages import Message
from fleet.users.senders import sender_from
from tests.fleet.users.conftest import NOW, PHONE, sent_code

KEY = bytes(range(32))
SECRET = SecretStr("whsec_" + base64.b64encode(KEY).decode())


class Provider(ThreadingHTTPServer):
    """An SMS gateway: takes what is signed, once per id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.status = 202
        self.taken: dict[str, Any] = {}
        self.calls = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/send?account=7"


class _Request(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        name, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        mac = hmac.new(KEY, b".".join([name.encode(), at.encode(), body]), hashlib.sha256).digest()
        signed = self.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
        status = self.server.status if signed and self.path == "/send?account=7" else 401
        if status == 202:
            self.server.taken[name] = json.loads(body)
        self.server.calls += 1
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to standard error."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def chosen(settings: Settings, provider: Provider) -> Settings:
    update = {"environment": Environment.PRODUCTION, "sms_webhook_url": provider.url, "sms_webhook_secret": SECRET}
    return settings.model_copy(update=update)


def test_a_code_goes_out_signed_and_once(session: Session, chosen: Settings, provider: Provider) -> None:
    challenge = otp.request_code(session, PHONE, NOW, chosen)
    assert otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
    assert not otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
    code = sent_code(session, chosen, PHONE)
    text = f"{code} is your Voltbay code. It is valid for 5 minutes."
    data = {"id": str(challenge.id), "to": PHONE, "text": text}
    assert provider.taken == {
        str(challenge.id): {"type": "sms.send", "timestamp": "2026-11-23T12:00:00+00:00", "data": data}
    }
    assert (provider.calls, challenge.sent_at) == (1, NOW)


@pytest.mark.parametrize("status", [302, 400, 429, 500])
def test_only_a_2xx_is_acceptance(session: Session, chosen: Settings, provider: Provider, status: int) -> None:
    challenge = otp.request_code(session, PHONE, NOW, chosen)
    provider.status = status
    with pytest.raises(MessageNotAccepted, match=f"answered {status}"):
        otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
    assert challenge.sent_at is None
    provider.status = 202
    assert otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
    assert list(provider.taken) == [str(challenge.id)]


def test_a_gateway_with_another_secret_takes_nothing(session: Session, chosen: Settings, provider: Provider) -> None:
    other = chosen.model_copy(
        update={"sms_webhook_secret": SecretStr("whsec_" + base64.b64encode(b"another" * 5).decode())}
    )
    with pytest.raises(MessageNotAccepted, match="answered 401"):
        sender_from(other).send(session, Message(uuid4(), PHONE, "s", "b"), NOW)
    assert provider.taken == {}


def test_a_gateway_that_is_away_took_nothing(session: Session, chosen: Settings) -> None:
    away = chosen.model_copy(update={"sms_webhook_url": "http://127.0.0.1:1/"})
    with pytest.raises(MessageNotAccepted, match="ConnectError"):
        sender_from(away).send(session, Message(uuid4(), PHONE, "s", "b"), NOW)


def test_what_cannot_be_reached_is_refused_when_it_is_asked_for(session: Session, chosen: Settings) -> None:
    with pytest.raises(NoSender):
        otp.request_code(session, "rider@example.com", NOW, chosen)


def test_the_signature_is_the_specifications() -> None:
    """https://github.com/standard-webhooks/standard-webhooks: the test vector of its libraries."""
    key = webhook_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = texts.signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "plain", "whsec_not base64!"])
def test_a_gateway_needs_a_secret_of_its_form(secret: str) -> None:
    with pytest.raises(ValueError, match="VOLTBAY_SMS_WEBHOOK_SECRET"):
        Settings(sms_webhook_url="https://sms.example.com", sms_webhook_secret=SecretStr(secret))
