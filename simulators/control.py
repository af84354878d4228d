"""The hand of God over a simulated fleet: HTTP on the loop that the cabinets run on.

For tests and demonstrations, on loopback only: it has no authentication.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final, TypeVar

import msgspec
import uvicorn
from msgspec import Meta, Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from firmware_protocol.types import Percent, Serial, SlotFaultKind, SlotNumber
from simulators import views
from simulators.driver import Driver
from simulators.errors import SimulatorError
from simulators.faults import Fault, FaultKind
from simulators.fleet import SimulatedFleet
from simulators.spec import StationSpec

B = TypeVar("B")
#: A year: longer absences are for good.
_MAX_ABSENCE_S: Final = 365 * 86_400


class Insert(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`serial` null: a bank that cannot be read; `foreign`: one that the fleet never saw."""

    serial: Serial | None
    slot: SlotNumber | None = None
    charge_pct: Percent | None = None
    foreign: bool = False


class Remove(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slot: SlotNumber


class Disconnect(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without `for_s` until `connect`."""

    for_s: Annotated[float, Meta(ge=0, le=_MAX_ABSENCE_S)] | None = None
    clean: bool = False


class Clock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`drift_ms` null: a cabinet without a clock."""

    drift_ms: int | None


class JammedSlot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slot: SlotNumber
    kind: SlotFaultKind = SlotFaultKind.JAM
    cleared: bool = False


class Inserted(Struct, frozen=True, kw_only=True):
    station: str
    slot: int
    serial: str | None


def control_app(fleet: SimulatedFleet) -> Starlette:
    """The ASGI application; must run on the fleet's own loop."""
    api = _Control(fleet)
    routes = [
        Route("/", _index),
        Route("/health", api.health),
        Route("/banks", api.banks),
        Route("/stations", api.stations),
        Route("/stations", api.add_station, methods=["POST"]),
        Route("/stations/{code}", api.station),
        Route("/stations/{code}/insert", api.insert, methods=["POST"]),
        Route("/stations/{code}/remove", api.remove, methods=["POST"]),
        Route("/stations/{code}/faults", api.add_fault, methods=["POST"]),
        Route("/stations/{code}/faults", api.clear_faults, methods=["DELETE"]),
        Route("/stations/{code}/faults/{kind}", api.clear_faults, methods=["DELETE"]),
        Route("/stations/{code}/slot-fault", api.slot_fault, methods=["POST"]),
        Route("/stations/{code}/reboot", api.reboot, methods=["POST"]),
        Route("/stations/{code}/disconnect", api.disconnect, methods=["POST"]),
        Route("/stations/{code}/connect", api.connect, methods=["POST"]),
        Route("/stations/{code}/clock", api.clock, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {SimulatorError: _refused, msgspec.ValidationError: _unreadable}
    handlers[msgspec.DecodeError] = _unreadable
    return Starlette(routes=routes, exception_handlers=handlers)


@contextlib.asynccontextmanager
async def serve_control(fleet: SimulatedFleet, port: int, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """The control API as long as the context lasts; yields its port (0 asks for a free one). Raises OSError."""
    with socket.create_server((host, port)) as listening:
        config = uvicorn.Config(control_app(fleet), log_config=None, access_log=False, lifespan="off", ws="none")
        server = _QuietServer(config)
        task = fleet.loop.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


class _QuietServer(uvicorn.Server):
    """Leaves signals to whoever runs the fleet."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _index(request: Request) -> Response:
    """What can be asked; docs/simulators.md says more."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    return _json([f"{min((route.methods or set()) - {'HEAD'})} {route.path}" for route in routes])


class _Control:
    def __init__(self, fleet: SimulatedFleet) -> None:
        self._fleet = fleet

    async def health(self, _request: Request) -> Response:
        health = views.health(self._fleet)
        return _json(health, 200 if health.status == "ready" else 503)

    async def banks(self, _request: Request) -> Response:
        """Those in riders' hands."""
        return _json([views.bank(bank) for bank in self._fleet.hands])

    async def stations(self, _request: Request) -> Response:
        return _json([views.summary(driver) for driver in self._fleet])

    async def add_station(self, request: Request) -> Response:
        """A cabinet of any dialect joins the fleet until the process ends."""
        return self._shown(self._fleet.add(await _body(request, StationSpec)), 201)

    async def station(self, request: Request) -> Response:
        return self._shown(self._driver(request))

    async def insert(self, request: Request) -> Response:
        driver, body = self._driver(request), await _body(request, Insert)
        slot = self._fleet.insert(
            driver.code, body.serial, slot=body.slot, charge_pct=body.charge_pct, foreign=body.foreign
        )
        return _json(Inserted(station=driver.code, slot=slot, serial=body.serial), 201)

    async def remove(self, request: Request) -> Response:
        driver, body = self._driver(request), await _body(request, Remove)
        driver.remove(body.slot)
        return self._shown(driver)

    async def add_fault(self, request: Request) -> Response:
        driver, fault = self._driver(request), await _body(request, Fault)
        driver.add_fault(fault)
        return self._shown(driver, 201)

    async def clear_faults(self, request: Request) -> Response:
        kind = request.path_params.get("kind")
        driver = self._driver(request)
        driver.clear_faults(None if kind is None else msgspec.convert(kind, FaultKind))
        return self._shown(driver)

    async def slot_fault(self, request: Request) -> Response:
        driver, body = self._driver(request), await _body(request, JammedSlot)
        driver.do(lambda cabinet, now: cabinet.slot_fault(body.slot, body.kind, now, cleared=body.cleared))
        return self._shown(driver)

    async def reboot(self, request: Request) -> Response:
        driver = self._driver(request)
        driver.reboot()
        return self._shown(driver, 202)

    async def disconnect(self, request: Request) -> Response:
        driver, body = self._driver(request), await _body(request, Disconnect)
        driver.disconnect(for_s=body.for_s, clean=body.clean)
        return self._shown(driver, 202)

    async def connect(self, request: Request) -> Response:
        driver = self._driver(request)
        driver.connect()
        return self._shown(driver, 202)

    async def clock(self, request: Request) -> Response:
        driver, body = self._driver(request), await _body(request, Clock)
        clock = driver.cabinet.board.clock
        clock.known = body.drift_ms is not None
        clock.drift_ms = body.drift_ms or 0
        return self._shown(driver)

    def _driver(self, request: Request) -> Driver:
        return self._fleet[request.path_params["code"]]

    def _shown(self, driver: Driver, status: int = 200) -> Response:
        return _json(views.station(driver, self._fleet.now_ms()), status)


async def _body(request: Request, kind: type[B]) -> B:
    return msgspec.json.decode(await request.body() or b"{}", type=kind)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _problem(status: int, title: str, detail: str) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(msgspec.json.encode(body), status, media_type="application/problem+json")


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, SimulatorError) else 500
    return _problem(status, type(error).__name__, str(error))


async def _unreadable(_request: Request, error: Exception) -> Response:
    return _problem(422, "InvalidRequest", str(error))
