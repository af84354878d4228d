"""The application: `create_app(settings)` builds everything the process holds and wires it together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from api import docs, errors, openapi
from api.admin.endpoints import ROUTERS as ADMIN
from api.config.endpoints import router as config
from api.devices.downloads import Downloads
from api.devices.firmware import router as firmware
from api.devices.logs import router as device_logs
from api.devices.provisioning import router as provisioning
from api.devices.volinks import router as volinks
from api.gauges.alerts import alert_metrics
from api.gauges.certificates import certificate_metrics
from api.gauges.database import DatabaseMetrics
from api.gauges.jobs import job_metrics
from api.gauges.money import money_metrics
from api.gauges.proof import proof_metrics
from api.gauges.subscriptions import subscription_metrics
from api.health.endpoints import router as health
from api.hub import Hub
from api.listener import Listener
from api.metrics import Metrics
from api.middleware import Edge, Gate
from api.paging import Cursors
from api.partners.commands import router as partner_commands
from api.partners.endpoints import router as partners
from api.partners.payout_accounts import router as partner_payout_accounts
from api.partners.vendors import router as vendors
from api.payments.routers import ROUTERS as PAYMENTS
from api.ratelimit import RateLimiter
from api.rentals.routers import ROUTERS as RENTALS
from api.routing import Table
from api.runtime import Runtime
from api.sandbox.endpoints import router as sandbox
from api.sandbox.payments import router as sandbox_bank
from api.stations.endpoints import router as stations
from api.subscriptions.endpoints import router as subscriptions
from api.users.endpoints import router as users
from fleet.db import create_engine_from
from fleet.payments.providers import provider_from
from fleet.rentals.rules import RentalPolicy
from fleet.settings import Settings
from fleet.users.tokens import TokenKeys

_PARTNERS = (partners, partner_commands, partner_payout_accounts, vendors)
AREAS = (
    users, stations, *RENTALS, *PAYMENTS, subscriptions, *_PARTNERS, config, provisioning, device_logs, firmware,
    *ADMIN,
)  # fmt: skip

#: A Redis that does not answer within this is away; rate limits then rest.
_REDIS_TIMEOUT_S = 0.25


def create_app(settings: Settings) -> FastAPI:
    runtime = _runtime(settings)
    app = FastAPI(
        routes=_routes(settings),
        title=openapi.TITLE,
        version=openapi.VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours are api.metrics and the log
        lifespan=_lifespan,
        middleware=_middleware(settings, runtime.metrics),
    )
    app.state.runtime = runtime
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]  # FastAPI's documented way
    errors.install(app)
    app.mount(docs.ASSETS, docs.assets())
    app.router.middleware_stack = Table(app)
    return app


def _routes(settings: Settings) -> list[BaseRoute]:
    """Those of the areas' routers themselves, not included ones: FastAPI would build each of them again when the first
    request comes, for a second in which nobody is served, and look for the route of every request twice
    (docs/decisions/0260).
    """
    routers = [*AREAS, volinks, health, docs.router]
    if not settings.production:
        routers += [sandbox, sandbox_bank]
    return [route for router in routers for route in router.routes]


def _runtime(settings: Settings) -> Runtime:
    metrics = Metrics()
    hub = Hub()
    engine = create_engine_from(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_overflow,
        name="voltbay-api",
    )
    _watch(metrics, engine, hub)
    redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return Runtime(
        settings=settings,
        engine=engine,
        reads=engine.execution_options(isolation_level="AUTOCOMMIT"),
        keys=TokenKeys.from_settings(settings),
        provider=provider_from(settings, engine),
        policy=RentalPolicy.from_settings(settings),
        hub=hub,
        limiter=RateLimiter(redis, settings.rate_limit_scale),
        metrics=metrics,
        cursors=Cursors(settings.secret_bytes("cursors")),
        downloads=Downloads(settings.firmware_downloads_max, settings.firmware_download_bps),
    )


def _watch(metrics: Metrics, engine: Engine, hub: Hub) -> None:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    metrics.watch("voltbay_database_connections_in_use", "Connections handed out", lambda: float(pool.checkedout()))
    metrics.watch("voltbay_database_connections_idle", "Connections in the pool", lambda: float(pool.checkedin()))
    metrics.watch("voltbay_waiters", "Requests and streams that wait for a change", lambda: float(hub.waiting))
    for read in (alert_metrics, job_metrics, proof_metrics, certificate_metrics, subscription_metrics, money_metrics):
        metrics.collect_from(DatabaseMetrics(engine, read))
    metrics.watch("voltbay_listening", "1 while notifications arrive", lambda: float(hub.listening))


def _middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """Outermost first."""
    stack: list[Any] = [
        Middleware(Edge, metrics=metrics, https=settings.base_url.startswith("https://")),
    ]
    if settings.cors_origins:
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Prefer",
                               "X-Request-Id", "Last-Event-ID"],
                expose_headers=["ETag", "Idempotency-Replayed", "Location", "Preference-Applied", "RateLimit-Limit",
                                "RateLimit-Remaining", "RateLimit-Reset", "Retry-After", "X-Request-Id"],
                max_age=600,
            )
        )  # fmt: skip
    return [*stack, Middleware(Gate, limit=settings.request_body_max)]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    runtime.hub.attach(asyncio.get_running_loop())
    # As many threads as connections: a request waits for a thread here rather than for a connection in one.
    threads = runtime.settings.database_pool_size + runtime.settings.database_pool_overflow
    to_thread.current_default_thread_limiter().total_tokens = threads
    listener = asyncio.create_task(Listener(runtime.settings.database_url.get_secret_value(), runtime.hub).run())
    limiter = asyncio.create_task(runtime.limiter.run())
    try:
        yield
    finally:
        for task in (listener, limiter):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await runtime.limiter.close()
        runtime.engine.dispose()
