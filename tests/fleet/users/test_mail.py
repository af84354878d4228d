"""Against a real SMTP server in this process, over a real TLS handshake."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as SmtpSession
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.settings import Environment, Settings
from fleet.users import otp
from fleet.users.errors import MessageNotAccepted
from fleet.users.messages import Message
from fleet.users.models import SandboxMessage
from fleet.users.senders import sender_from
from tests.fleet.users.conftest import NOW, PHONE, sent_code

RIDER = "rider@example.com"
PASSWORD = "p@ss/word"
MESSAGE = Message(uuid4(), RIDER, "Your Voltbay code", "123456 is your Voltbay code.")


@dataclass
class Mailbox:
    """What the server took. `answer` is what it says to the content of the next mails."""

    answer: str = "250 taken"
    recipients: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    async def handle_DATA(self, _: SMTP, session: SmtpSession, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append(mail)
            self.recipients.extend(envelope.rcpt_tos)
            self.encrypted.append(session.ssl is not None)
        return self.answer


def _may_send(server: SMTP, session: SmtpSession, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
    assert isinstance(given, LoginPassword)
    return AuthResult(success=(given.login, given.password) == (b"voltbay", PASSWORD.encode()))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for `localhost`, and the file with its certificate."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(encoded)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, folder / "cert.pem"


@pytest.fixture
def trusted(tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
    return tls[0]


class _OnAnyPort(Controller):
    def _trigger_server(self) -> None:
        """The controller looks whether it answers: at the port that it was given."""
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd has no annotation there


@contextmanager
def mail_server(box: Mailbox, tls: ssl.SSLContext | None) -> Iterator[int]:
    """Its port. With `tls` it offers STARTTLS and takes nothing without; password needed."""
    options: dict[str, Any] = {"tls_context": tls, "require_starttls": True, "auth_required": True}
    controller = _OnAnyPort(
        box, hostname="127.0.0.1", port=0, ready_timeout=60, **(options | {"authenticator": _may_send} if tls else {})
    )
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _settings(url: str, **more: object) -> Settings:
    return Settings(smtp_url=SecretStr(url), mail_from="Voltbay <no-reply@voltbay.example>", **more)  # type: ignore[arg-type]


def _send(url: str, session: Session, message: Message = MESSAGE) -> None:
    sender_from(_settings(url)).send(session, message, NOW)


def test_a_code_goes_by_mail_encrypted_and_with_the_password(
    session: Session, settings: Settings, trusted: ssl.SSLContext
) -> None:
    box = Mailbox()
    with mail_server(box, trusted) as port:
        chosen = _settings(
            f"smtp://voltbay:p%40ss%2Fword@localhost:{port}", secret_key=settings.secret_key, home=settings.home
        ).model_copy(update={"environment": Environment.PRODUCTION})
        challenge = otp.request_code(session, RIDER, NOW, chosen)
        assert otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
        assert not otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
    (mail,) = box.mails
    assert (box.recipients, box.encrypted, challenge.sent_at) == ([RIDER], [True], NOW)
    assert sent_code(session, chosen, RIDER) in mail.get_content()
    assert (mail["From"], mail["To"]) == ("Voltbay <no-reply@voltbay.example>", RIDER)
    assert mail["Message-ID"] == f"<{challenge.id}@voltbay.example>"
    assert mail["Auto-Submitted"] == "auto-generated"


def test_a_relay_of_ones_own_may_be_in_clear(session: Session) -> None:
    box = Mailbox()
    with mail_server(box, None) as port:
        _send(f"smtp+clear://localhost:{port}", session)
    assert (box.recipients, box.encrypted) == ([RIDER], [False])


def test_an_address_is_one_recipient_whatever_it_holds(session: Session) -> None:
    box = Mailbox()
    odd = Message(uuid4(), "a,b@example.com", "s", "b")
    with mail_server(box, None) as port:
        _send(f"smtp+clear://localhost:{port}", session, odd)
    assert box.mails[0]["To"].addresses[0].addr_spec == '"a,b"@example.com'
    assert len(box.recipients) == len(box.mails[0]["To"].addresses) == 1


def test_no_password_goes_to_a_server_without_tls_or_with_another_name(
    session: Session, tls: tuple[ssl.SSLContext, Path]
) -> None:
    box = Mailbox()
    with mail_server(box, None) as port, pytest.raises(MessageNotAccepted, match="NotSupported"):
        _send(f"smtp://voltbay:secret@localhost:{port}", session)
    with mail_server(box, tls[0]) as port, pytest.raises(MessageNotAccepted, match="Verification"):
        _send(f"smtp://voltbay:secret@localhost:{port}", session)  # nobody trusts its certificate here
    assert box.mails == []


def test_what_the_server_refuses_is_not_sent(session: Session, settings: Settings, trusted: ssl.SSLContext) -> None:
    box = Mailbox(answer="451 later, rider@example.com")
    with mail_server(box, None) as port:
        chosen = _settings(f"smtp+clear://localhost:{port}", secret_key=settings.secret_key, home=settings.home)
        challenge = otp.request_code(session, RIDER, NOW, chosen)
        with pytest.raises(MessageNotAccepted, match=r"answered 451$"):
            otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
        assert challenge.sent_at is None
        box.answer = "250 taken"
        assert otp.deliver_code(session, challenge.id, sender_from(chosen), NOW, chosen)
    with mail_server(box, trusted) as port, pytest.raises(MessageNotAccepted, match="the mail server"):
        _send(f"smtp://voltbay:wrong@localhost:{port}", session)
    with pytest.raises(MessageNotAccepted, match="ConnectionRefused"):
        _send("smtp+clear://127.0.0.1:1", session)
    assert box.recipients == [RIDER]


def test_the_other_kind_stays_in_the_sandbox(session: Session) -> None:
    text = Message(uuid4(), PHONE, "s", "by text")
    _send("smtp+clear://localhost:1", session, text)
    assert session.scalars(select(SandboxMessage.body).where(SandboxMessage.destination == PHONE)).all() == ["by text"]


@pytest.mark.parametrize("url", ["localhost:25", "http://localhost", "smtp://"])
def test_an_address_of_no_mail_server_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match="VOLTBAY_SMTP_URL"):
        _settings(url)


def test_mail_needs_somebody_it_is_from() -> None:
    with pytest.raises(ValueError, match="VOLTBAY_MAIL_FROM"):
        Settings(smtp_url=SecretStr("smtp://localhost"))
