from sqlalchemy import Engine

from fleet.payments.errors import UnknownProvider
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.providers.sandbox import NAME as SANDBOX
from fleet.payments.providers.sandbox import SandboxProvider
from fleet.settings import Settings


def provider_from(settings: Settings, engine: Engine) -> PaymentProvider:
    """The provider that the settings name. `engine` is for the sandbox, which keeps its books with ours.

    Raises UnknownProvider.
    """
    if settings.payment_provider == SANDBOX:
        return SandboxProvider(
            engine,
            settings.sandbox_webhook_secret.get_secret_value(),
            page_url=f"{settings.base_url}/sandbox/pay/",
        )
    raise UnknownProvider(f"there is no payment provider {settings.payment_provider!r}")


__all__ = ["PaymentProvider", "provider_from"]
