"""HTTP calls of Volinks cabinets at the vendor's own paths, new and old (`/api/…` is served as `/api/v1/…`).

None of them changes a slot, a bank or a rental: they hand out what a cabinet needs, and have it asked over MQTT.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from api.addresses import PREFIX
from api.deps import Address, Now, RuntimeDep, SessionDep
from api.devices.envelope import BAD_REQUEST, FORBIDDEN, NOT_CONFIGURED, NOT_FOUND, envelope
from api.devices.names import hardware_id
from api.runtime import Runtime
from firmware_protocol.dialects.volinks import codec
from firmware_protocol.dialects.volinks.boards import Inventory
from firmware_protocol.dialects.volinks.signature import sign_ok
from firmware_protocol.dialects.volinks.topics import DEFAULT_PRODUCT
from firmware_protocol.errors import InvalidField, ProtocolError
from fleet.common.money import Money
from fleet.common.networks import CabinetNetworks
from fleet.common.vault import Vault
from fleet.config import service as config
from fleet.devices import calls, profiles
from fleet.devices.calls import Call
from fleet.devices.credentials import PURPOSE
from fleet.devices.errors import LockedOut
from fleet.rentals.tariffs.queries import find_tariff
from fleet.stations.models import Station

#: Not in the API's document: only cabinets call here, and they know nothing of it.
router = APIRouter(prefix=PREFIX, tags=["device"], include_in_schema=False)
_BROKER_PORT = 1883
#: What is read and kept of a call's body.
_BODY_BYTES = 64 * 1024
_LOG = structlog.get_logger(__name__)


async def _raw_body(request: Request) -> bytes:
    """As it came: binary frames travel labelled as text. No frame is nearly as long as what is cut off."""
    return (await request.body())[:_BODY_BYTES]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a call says it is from. `station` None: nobody of ours, and the trace is kept.

    `admitted`: it comes from a network of cabinets, whichever cabinet it is.
    """

    session: Session
    runtime: Runtime
    call: Call
    parameters: dict[str, str]
    station: Station | None
    now: datetime
    admitted: bool

    def refused(self) -> JSONResponse:
        if CabinetNetworks.of(self.runtime.settings).missing:
            return envelope(None, self.now, NOT_CONFIGURED, "VOLTBAY_DEVICE_NETWORKS is not set")
        return envelope(None, self.now, NOT_FOUND, "unknown device")

    def reject(self, code: str, reason: str, status: int = BAD_REQUEST) -> JSONResponse:
        calls.refuse(self.session, self.call, code, reason, self.station)
        return envelope(None, self.now, status, code)


class _Called:
    """Makes a Caller. `named` False: the call says nothing of who it is from."""

    def __init__(self, kind: str, *, named: bool = True) -> None:
        self._kind = kind
        self._named = named

    def __call__(  # FastAPI calls it by name
        self,
        request: Request,
        session: SessionDep,
        runtime: RuntimeDep,
        now: Now,
        source: Address,
        body: Annotated[bytes, Depends(_raw_body)],
    ) -> Caller:
        parameters = dict(request.query_params)
        target = f"{request.url.path}?{request.url.query}"
        signed = sign_ok(parameters)
        runtime.metrics.device_calls.labels(self._kind, str(signed).lower()).inc()
        call = Call(self._kind, target, body, source, signed, now)
        station = None
        networks = CabinetNetworks.of(runtime.settings)
        admitted = networks.admit(source)
        if admitted and self._named:
            station = calls.cabinet(session, hardware_id(request.url.path.removeprefix(PREFIX), parameters), call)
        elif admitted:
            pass
        elif networks.missing:
            _LOG.error("call of a cabinet refused: VOLTBAY_DEVICE_NETWORKS is not set", kind=self._kind, source=source)
        else:
            calls.refuse(session, call, "foreign_network", f"{source} is of no network of cabinets")
        return Caller(session, runtime, call, parameters, station, now, admitted)


_Connect = Annotated[Caller, Depends(_Called(calls.CONNECT), scope="function")]
_Upload = Annotated[Caller, Depends(_Called("upload"), scope="function")]
_Return = Annotated[Caller, Depends(_Called("return"), scope="function")]
_Config = Annotated[Caller, Depends(_Called("config"), scope="function")]
_Version = Annotated[Caller, Depends(_Called("version"), scope="function")]
_NamelessVersion = Annotated[Caller, Depends(_Called("version", named=False), scope="function")]
_Adverts = Annotated[Caller, Depends(_Called("adverts"), scope="function")]
_Amount = Annotated[Caller, Depends(_Called("amount"), scope="function")]


@router.post("/rentbox/client/connect")
@router.get("/iot/client/con")
@router.post("/iot/client/con")
def connect(caller: _Connect) -> JSONResponse:
    """Where the broker is, and what to prove oneself with: client id, product key, host, port, user, password, ms."""
    station, now = caller.station, caller.now
    if station is None:
        return caller.refused()
    if not caller.call.signed:
        return caller.reject(calls.WRONG_SIGN, "connect without the sign that every firmware sends", FORBIDDEN)
    broker = urlsplit(caller.runtime.settings.cabinet_secret_url or "")
    if not broker.hostname:
        return envelope(None, now, NOT_CONFIGURED, "VOLTBAY_CABINET_SECRET_URL is not set")
    vault = Vault.of(caller.runtime.settings, PURPOSE)
    firmware = caller.call.body.decode("utf-8", "replace") or None
    try:
        issued = calls.connect(caller.session, station, caller.call, vault, firmware=firmware, now=now)
    except LockedOut as refusal:
        return caller.reject(refusal.code, str(refusal), FORBIDDEN)
    fields = (
        issued.username,
        DEFAULT_PRODUCT,
        broker.hostname,
        broker.port or _BROKER_PORT,
        issued.username,
        issued.password,
        round(now.timestamp() * 1000),
    )
    return envelope(",".join(map(str, fields)), now)


@router.post("/rentbox/client/upload")
@router.post("/rentbox/upload/data")
def upload(caller: _Upload) -> JSONResponse:
    """An inventory over HTTP never overrides what came over MQTT: the cabinet is asked there."""
    station = caller.station
    if station is None:
        return caller.refused()
    known = profiles.profile_of(caller.session, station.id)
    tolerate = known is not None and known.tolerate_checksum
    try:
        frame = codec.decode_up(caller.call.body, tolerate_checksum=tolerate)
        if not isinstance(frame, Inventory):
            raise InvalidField(f"expected an inventory (0x10), got {type(frame).__name__}")
    except ProtocolError as error:
        return caller.reject(error.code, str(error))
    calls.told_of_slots(caller.session, station, caller.now, returned=False)
    return envelope(None, caller.now)


@router.get("/rentbox/order/return")
@router.get("/rentbox/client/return")
@router.post("/rentbox/client/return")
def returned(caller: _Return) -> JSONResponse:
    """A return over HTTP closes no rental: the frame of the return does, or the inventory that is asked for."""
    station, parameters = caller.station, caller.parameters
    if station is None:
        return caller.refused()
    hole, serial = parameters.get("hole", ""), parameters.get("singleSN", "")
    if not (_is_number(hole) and _is_number(serial)):
        return caller.reject("invalid_field", f"hole {hole[:20]!r}, singleSN {serial[:20]!r}: expected numbers")
    calls.told_of_slots(caller.session, station, caller.now, returned=True)
    return envelope(None, caller.now)


@router.get("/rentbox/config/data")
@router.post("/rentbox/config/data")
def configuration(caller: _Config) -> JSONResponse:
    """A JSON text inside the JSON, as older firmware wants it."""
    if caller.station is None:
        return caller.refused()
    return envelope(json.dumps(config.get(caller.session, calls.CABINET_CONFIG)), caller.now)


@router.get("/rentbox/client/version/{part}")
def version(part: str, caller: _NamelessVersion) -> JSONResponse:
    """`name,size,url` of what operators have entered, or null. The call names no cabinet: its network is all it has."""
    if not caller.admitted:
        return caller.refused()
    key = f"{part}.{caller.parameters.get('id', '')}"
    return envelope(config.get(caller.session, calls.VERSIONS).get(key), caller.now)


@router.get("/iot/app/version/{channel}")
@router.get("/iot/app/version/{channel}/{part}")
def older_version(caller: _Version, channel: str, part: str = "app") -> JSONResponse:
    if caller.station is None:
        return caller.refused()
    return envelope(config.get(caller.session, calls.VERSIONS).get(f"{channel}.{part}"), caller.now)


@router.get("/advert/rentbox/distribute/list")
def adverts(caller: _Adverts) -> JSONResponse:
    if caller.station is None:
        return caller.refused()
    return envelope(config.get(caller.session, calls.ADVERTS), caller.now)


@router.get("/common/config/pre_auth_amount")
def pre_auth_amount(caller: _Amount) -> JSONResponse:
    """What a start holds on the wallet there, in the currency's own unit."""
    if caller.station is None:
        return caller.refused()
    tariff = find_tariff(caller.session, caller.station, caller.now)
    if tariff is None:
        return envelope(None, caller.now, NOT_CONFIGURED, "no tariff")
    amount, _, _ = str(Money(tariff.hold_minor, tariff.currency)).partition(" ")
    return envelope(amount, caller.now)


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS


#: Digits of a u32.
_MOST_DIGITS = 10
