"""E-mail over SMTP (RFC 5321), encrypted unless the operator's settings name a relay in clear."""

import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from sqlalchemy.orm import Session

from fleet.settings import Settings
from fleet.users.errors import MessageNotAccepted
from fleet.users.messages import Message

#: Seconds for each step of the conversation. The code's row stays locked meanwhile.
_TIMEOUT_S = 10.0
#: RFC 8314 (TLS from the start), RFC 6409 (submission, STARTTLS), RFC 5321 (relay).
_PORTS = {"smtps": 465, "smtp": 587, "smtp+clear": 25}


@dataclass(frozen=True, slots=True)
class SmtpSender:
    url: SplitResult
    #: `Name <address>` or an address.
    sender: str

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        assert settings.smtp_url is not None
        assert settings.mail_from is not None
        return cls(urlsplit(settings.smtp_url.get_secret_value()), settings.mail_from)

    def send(self, session: Session, message: Message, now: datetime) -> None:
        """Hand over to the server. Raises MessageNotAccepted: it may be tried again."""
        del session
        try:
            self._hand_over(self._as_mail(message, now), message.destination)
        except smtplib.SMTPResponseException as error:
            # Without the server's words: they may quote the address.
            raise MessageNotAccepted(f"the mail server answered {error.smtp_code}") from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            raise MessageNotAccepted(f"the mail server refused the recipient: {codes}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise MessageNotAccepted(f"the mail server: {type(error).__name__}") from error

    def _hand_over(self, mail: EmailMessage, destination: str) -> None:
        server = self._connect()
        try:
            server.send_message(mail, to_addrs=[destination])
            with suppress(OSError, smtplib.SMTPException):  # it is accepted, however the goodbye goes
                server.quit()
        finally:
            server.close()

    def _connect(self) -> smtplib.SMTP:
        host, port = self.url.hostname or "", self.url.port or _PORTS[self.url.scheme]
        trusted = ssl.create_default_context()
        if self.url.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=trusted)
        else:
            server = smtplib.SMTP(host, port, timeout=_TIMEOUT_S)
        try:
            if self.url.scheme == "smtp":
                server.starttls(
                    context=trusted
                )  # raises where the server does not offer it: never in clear by accident
            if self.url.username:
                server.login(unquote(self.url.username), unquote(self.url.password or ""))
        except BaseException:
            server.close()
            raise
        return server

    def _as_mail(self, message: Message, now: datetime) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self.sender
        local, _, domain = message.destination.rpartition("@")
        mail["To"] = Address(username=local, domain=domain)  # quoted where it must be: one address, whatever it holds
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(now)
        mail["Message-ID"] = f"<{message.id}@{parseaddr(self.sender)[1].rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        mail.set_content(message.body)
        return mail
