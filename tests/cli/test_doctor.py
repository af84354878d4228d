import pytest
from pydantic import SecretStr

from cli.doctor import Verdict, _codes
from fleet.settings import Environment, Settings

PRODUCTION = Settings().model_copy(update={"environment": Environment.PRODUCTION})
MAIL = {"smtp_url": SecretStr("smtp://mail.example.com"), "mail_from": "no-reply@example.com"}
TEXTS = {"sms_webhook_url": "https://sms.example.com", "sms_webhook_secret": SecretStr("whsec_…")}


@pytest.mark.parametrize(
    ("given", "verdict", "says"),
    [
        ({}, Verdict.MISSING, "VOLTBAY_SMTP_URL"),
        (MAIL, Verdict.NOTE, "VOLTBAY_SMS_WEBHOOK_URL"),
        (TEXTS, Verdict.NOTE, "VOLTBAY_SMTP_URL"),
        (MAIL | TEXTS, Verdict.OK, "e-mail and text messages"),
    ],
)
def test_production_is_told_whom_no_code_can_reach(given: dict[str, object], verdict: Verdict, says: str) -> None:
    found = _codes(PRODUCTION.model_copy(update=given))
    assert (found.verdict, says in found.detail) == (verdict, True)


def test_a_laptop_has_its_inbox() -> None:
    assert _codes(Settings()).verdict is Verdict.OK
