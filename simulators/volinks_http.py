"""The HTTP calls of a Volinks cabinet (volinks.md §10). Their sign has no secret."""

from typing import Final

import msgspec
from msgspec import Struct

from firmware_protocol.dialects.volinks.signature import SIGN_KEY, sign
from firmware_protocol.dialects.volinks.topics import DEFAULT_PRODUCT
from simulators.outputs import HttpCall
from simulators.spec import StationSpec

CONNECT: Final = "connect"
_OK: Final = 200
_CONNECT_FIELDS: Final = 7


class Broker(Struct, frozen=True, kw_only=True):
    """What the connect call answers."""

    client_id: str
    product: str
    host: str
    port: int
    username: str
    password: str


class _Envelope(Struct):
    code: int
    data: str = ""


def connect(station: StationSpec, firmware: str) -> HttpCall:
    """At every start. The body is text, and says what the cabinet is."""
    identity = station.identity
    parameters = {"simUUID": f"8986{identity[-15:]:0>15}", "simMobile": "", "uuid": identity, "deviceId": "0"}
    body = f"hardware=V6086&software={firmware}".encode()
    return _signed(CONNECT, "/api/rentbox/client/connect", parameters, body)


def upload(station: StationSpec, csq: int, frame: bytes) -> HttpCall:
    """A whole inventory, on a period and when told to."""
    parameters = {"rentboxSN": station.identity, "signal": f"CSQ:{csq}"}
    return _signed("upload", "/api/rentbox/client/upload", parameters, frame)


def returned(station: StationSpec, sn: int, hole: int, power: int) -> HttpCall:
    """Successful returns only."""
    parameters = {"rentboxSN": station.identity, "singleSN": str(sn), "hole": str(hole), "power": str(power)}
    return _signed("return", "/api/rentbox/order/return", parameters)


def adverts(station: StationSpec) -> HttpCall:
    return _signed("adverts", "/api/advert/rentbox/distribute/list", {"uuid": station.identity, "position": "screen"})


def broker_of(status: int, text: str) -> Broker | None:
    """The answer to `connect`; None for a refusal and for what cannot be read."""
    if status != _OK:
        return None
    try:
        envelope = msgspec.json.decode(text, type=_Envelope)
        fields = [field.strip() for field in envelope.data.split(",")]
        if envelope.code != _OK or len(fields) != _CONNECT_FIELDS:
            return None
        client_id, product, host, port, username, password, _server_ms = fields
        return Broker(
            client_id=client_id,
            product=product or DEFAULT_PRODUCT,
            host=host,
            port=int(port),
            username=username,
            password=password,
        )
    except (msgspec.MsgspecError, ValueError):
        return None


def _signed(name: str, path: str, parameters: dict[str, str], body: bytes | None = None) -> HttpCall:
    return HttpCall(name=name, path=path, parameters=parameters | {SIGN_KEY: sign(parameters)}, body=body)
