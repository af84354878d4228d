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
    if settings.payment_provider == "stripe":
        return _stripe(settings)
    raise UnknownProvider(f"there is no payment provider {settings.payment_provider!r}")


def _stripe(settings: Settings) -> PaymentProvider:
    from fleet.payments.providers.stripe import StripeProvider  # noqa: PLC0415  # 0.7 s that a sandbox need not wait

    assert settings.stripe_api_key is not None
    assert settings.stripe_webhook_secret is not None
    connect = settings.stripe_connect_webhook_secret
    return StripeProvider(
        settings.stripe_api_key.get_secret_value(),
        settings.stripe_webhook_secret.get_secret_value(),
        settings.stripe_api_base,
        None if connect is None else connect.get_secret_value(),
    )


__all__ = ["PaymentProvider", "provider_from"]
