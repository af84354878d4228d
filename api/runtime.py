"""What one API process holds; built by `create_app` and reached through `request.app.state.runtime`."""

from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.requests import HTTPConnection

from api.devices.downloads import Downloads
from api.hub import Hub
from api.metrics import Metrics
from api.paging import Cursors
from api.ratelimit import RateLimiter
from fleet.payments.providers.base import PaymentProvider
from fleet.rentals.rules import RentalPolicy
from fleet.settings import Settings
from fleet.users.tokens import TokenKeys


@dataclass(frozen=True, slots=True)
class Runtime:
    settings: Settings
    engine: Engine
    #: The same connections, each statement a transaction of its own.
    reads: Engine
    keys: TokenKeys
    provider: PaymentProvider
    policy: RentalPolicy
    hub: Hub
    limiter: RateLimiter
    metrics: Metrics
    cursors: Cursors
    downloads: Downloads


def runtime_of(connection: HTTPConnection) -> Runtime:
    found: Runtime = connection.app.state.runtime
    return found
