"""Where my withdrawals go to, where the payment provider pays out to accounts of their owners."""

from datetime import datetime

from api.auth import CurrentUser, WaitingAccount
from api.deps import Now, RuntimeDep, SessionDep
from api.payments.money_out_schemas import OnboardingOut, PayoutAccountOut
from api.problems import problems
from api.runtime import Runtime
from api.v1 import area
from fleet.common.errors import InvalidInput
from fleet.db import session_scope
from fleet.payments.outgoing import accounts
from fleet.payments.outgoing.models import OwnerKind
from fleet.payments.providers.base import AccountOwner

router = area("payment", "payments")


@router.post("/payout-account", operation_id="open_payout_account", summary="Tell the payment provider who I am",
             responses=problems(401, 403, 409, 422))  # fmt: skip
def open_account(runtime: RuntimeDep, user: WaitingAccount, now: Now) -> OnboardingOut:
    """Opens the account that withdrawals go to, or shows it as the provider has it now; again is the same account. The
    app opens `url` in a browser; whoever comes back from there asks again.
    """
    if user.country is None:
        raise InvalidInput("say in your profile in which country you live", field="country")
    owner = AccountOwner(user.id, user.country, user.email)
    return onboarded(runtime, OwnerKind.RIDER, owner, now)


def onboarded(runtime: Runtime, kind: OwnerKind, owner: AccountOwner, now: datetime) -> OnboardingOut:
    """The provider is called outside any transaction."""
    return_url = runtime.settings.after_payment_url
    found = accounts.onboard(
        lambda: session_scope(runtime.engine), kind, owner, runtime.provider, return_url=return_url, now=now
    )
    return OnboardingOut.of(found)


@router.get("/payout-account", operation_id="get_payout_account", summary="My account for withdrawals",
            responses=problems(401, 403, 404))  # fmt: skip
def get_account(session: SessionDep, runtime: RuntimeDep, user: CurrentUser) -> PayoutAccountOut:
    """As the provider's last word has it."""
    return PayoutAccountOut.model_validate(accounts.account_of(session, user.id, runtime.provider.name))
