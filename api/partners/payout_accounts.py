"""Where a partner's payouts go to, where the payment provider pays out to accounts of their owners."""

from typing import Annotated

from pydantic import ConfigDict, Field

from api.auth import WaitingUser
from api.deps import Now, RuntimeDep, SessionDep
from api.partners.access import PortalDep
from api.payments.money_out_schemas import OnboardingOut, PayoutAccountOut
from api.payments.payout_accounts import onboarded
from api.problems import problems
from api.schemas import Input
from api.v1 import area
from fleet.db import session_scope
from fleet.partners import queries
from fleet.payments.outgoing import accounts
from fleet.payments.outgoing.models import OwnerKind
from fleet.payments.providers.base import AccountOwner

router = area("partner", "partners")


class PayoutAccountIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"country": "CH"}]})

    country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1: where the partner is at home")]


@router.post("/payout-account", operation_id="partner_open_payout_account",
             summary="Tell the payment provider who we are", responses=problems(401, 403, 409))  # fmt: skip
def open_account(body: PayoutAccountIn, runtime: RuntimeDep, user: WaitingUser, now: Now) -> OnboardingOut:
    """Opens the account that our payouts go to, or shows it as the provider has it now; again is the same account."""
    with session_scope(runtime.engine) as session:
        partner_id = queries.partner_of(session, user.id).id
    return onboarded(runtime, OwnerKind.PARTNER, AccountOwner(partner_id, body.country, user.email), now)


@router.get("/payout-account", operation_id="partner_payout_account", summary="Our account for payouts",
            responses=problems(401, 403, 404))  # fmt: skip
def get_account(session: SessionDep, runtime: RuntimeDep, portal: PortalDep) -> PayoutAccountOut:
    return PayoutAccountOut.model_validate(accounts.account_of(session, portal.partner.id, runtime.provider.name))
