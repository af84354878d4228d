"""Where devices find the API: for those, too, who only have to name it and need not import the whole of it."""

from fleet.settings import Settings

PREFIX = "/api/v1"


def claim_url(settings: Settings) -> str:
    """Where devices exchange a claim token for a credential."""
    return f"{settings.base_url}{PREFIX}/device/claim"


def renew_url(settings: Settings) -> str:
    """Where devices renew a certificate."""
    return f"{settings.base_url}{PREFIX}/device/renew"
