"""The page of the sandbox's bank on which riders approve a payment (3-D Secure)."""

import html
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, RedirectResponse

from api.deps import RuntimeDep
from fleet.common.money import Money
from fleet.payments.errors import UnknownProvider
from fleet.payments.providers.base import ObjectKind, ProviderCharge
from fleet.payments.providers.sandbox import SandboxProvider

router = APIRouter(prefix="/sandbox", tags=["sandbox"])

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sandbox bank</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 0 auto; padding: 2.5rem 1.25rem; }}
h1 {{ font-size: 1.35rem; }} form {{ display: flex; gap: .75rem; }}
button {{ font: inherit; padding: .6rem 1.2rem; border-radius: .6rem; border: 1px solid; cursor: pointer; }}
</style></head><body><h1>Sandbox bank</h1>{body}</body></html>"""
_ASK = """<p>A payment of <strong>{amount}</strong> waits for your approval.</p>
<form method="post"><button formaction="{reference}/approve">Approve</button>
<button formaction="{reference}/decline">Decline</button></form>"""
_DONE = "<p>Nothing waits for you here: this payment is <strong>{status}</strong>. You can go back to the app.</p>"


def _sandbox(runtime: RuntimeDep) -> SandboxProvider:
    if not isinstance(runtime.provider, SandboxProvider):
        raise UnknownProvider("payments are not the sandbox's here")
    return runtime.provider


Sandbox = Annotated[SandboxProvider, Depends(_sandbox)]


@router.get("/pay/{reference}", operation_id="sandbox_bank_page", summary="Where a rider approves a payment",
            response_class=HTMLResponse, responses={404: {"description": "There is no such payment."}})  # fmt: skip
def bank_page(reference: str, provider: Sandbox) -> HTMLResponse:
    charge = provider.fetch(ObjectKind.CHARGE, reference)
    if not isinstance(charge, ProviderCharge):
        body, status = "<p>There is no such payment.</p>", 404
    elif charge.action_url is None:
        body, status = _DONE.format(status=html.escape(charge.status)), 200
    else:
        amount = str(Money(charge.amount_minor, charge.currency))
        body, status = _ASK.format(amount=amount, reference=html.escape(charge.reference)), 200
    return HTMLResponse(_PAGE.format(body=body), status, headers={"Content-Security-Policy": _POLICY})


@router.post("/pay/{reference}/approve", operation_id="sandbox_approve_payment", summary="The rider approves",
             response_class=RedirectResponse, status_code=303)  # fmt: skip
def approve(reference: str, provider: Sandbox) -> RedirectResponse:
    provider.complete_action(reference, approved=True)
    return RedirectResponse(f"/sandbox/pay/{reference}", 303)


@router.post("/pay/{reference}/decline", operation_id="sandbox_decline_payment", summary="The rider declines",
             response_class=RedirectResponse, status_code=303)  # fmt: skip
def decline(reference: str, provider: Sandbox) -> RedirectResponse:
    provider.complete_action(reference, approved=False)
    return RedirectResponse(f"/sandbox/pay/{reference}", 303)
