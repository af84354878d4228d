import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from fleet.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return create_app(Settings(home=tmp_path_factory.mktemp("home"))).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_checked_in_document_is_the_code(document: dict[str, Any]) -> None:
    checked_in = json.loads(DOCUMENT.read_text())
    assert checked_in == json.loads(json.dumps(document)), "run `make openapi` and commit docs/openapi.json"


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["tags"], name


def test_every_operation_of_the_api_tells_its_errors(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "/api/v1/" not in name:
            continue
        responses = operation["responses"]
        assert {"422", "429", "503"} <= set(responses), name
        for status, response in responses.items():
            if status >= "400":
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (name, status)
        assert "401" in responses or "security" not in operation, name


def test_every_request_body_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            schema = content["schema"]
            if "$ref" in schema:
                schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            by_field = all("examples" in field for field in schema.get("properties", {"": {}}).values())
            assert "example" in content or "examples" in schema or by_field, (name, media)


PAYMENTS_KEYED = {
    "create_top_up", "confirm_top_up",
    "add_payment_method", "confirm_payment_intent",
    "request_refund", "request_withdrawal", "admin_request_refund", "admin_approve_refund",
    "admin_approve_withdrawal", "admin_reconcile_payments", "pay_debt", "admin_write_off_debt",
    "admin_approve_write_off",
}  # fmt: skip


SUBSCRIPTIONS_KEYED = {"subscribe", "pay_subscription", "admin_grant_subscription", "admin_cancel_subscription"}
CARE_KEYED = {
    "admin_force_complete", "admin_force_cancel", "admin_reassign_bank", "admin_back_date", "admin_pause_billing",
    "admin_resume_billing", "admin_confirm_return_claim", "admin_refute_return_claim", "admin_decide_dispute",
    "admin_assign_orphan_bank",
}  # fmt: skip


def keyed(document: dict[str, Any], *, required: bool) -> set[str]:
    """Operations that take an Idempotency-Key."""
    return {
        operation["operationId"]
        for _, operation in operations(document)
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "Idempotency-Key" and parameter["required"] is required
    }


def test_what_can_be_asked_only_once_anyway_may_have_a_key(document: dict[str, Any]) -> None:
    """It gives back what was set aside, or says where a bank is: again changes nothing, or is refused."""
    assert keyed(document, required=False) == {
        "cancel_rental", "cancel_reservation", "cancel_withdrawal", "admin_reject_withdrawal", "partner_cancel_payout",
        "admin_reject_payout", "admin_send_payout", "admin_found_orphan_bank", "admin_lost_orphan_bank",
        "admin_foreign_orphan_bank",
    }  # fmt: skip


def test_what_moves_money_or_metal_needs_a_key(document: dict[str, Any]) -> None:
    assert keyed(document, required=True) == PAYMENTS_KEYED | CARE_KEYED | SUBSCRIPTIONS_KEYED | {
        "start_rental", "extend_rental", "reserve_power_bank", "swap_power_bank", "pay_due", "admin_send_command",
        "admin_adjust_wallet", "admin_eject", "admin_approve_adjustment", "partner_request_payout",
        "partner_send_command", "admin_complete_payout",
    }  # fmt: skip


def test_no_address_takes_a_token(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert "token" not in parameter["name"].lower(), name
