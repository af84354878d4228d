from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.doctor import Verdict, _codes, _mosquitto
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


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ("2.0.11", Verdict.OK),
        ("2.0.12", Verdict.NOTE),
        ("2.0.22", Verdict.NOTE),
        ("2.0.23", Verdict.OK),
        ("2.1.2", Verdict.OK),
    ],
)
def test_a_broker_that_keeps_nothing_for_a_gateway_is_named(tmp_path: Path, version: str, verdict: Verdict) -> None:
    program = tmp_path / "mosquitto"
    program.write_text(f"#!/bin/sh\necho mosquitto version {version}\n")
    program.chmod(0o700)
    found = _mosquitto(lambda: program)
    assert (found.verdict, f"; {version} drops" in found.detail) == (verdict, verdict is Verdict.NOTE)
