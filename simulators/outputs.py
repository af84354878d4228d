"""What a cabinet wants done outside of itself. The cabinet is pure; the driver does these things."""

from dataclasses import dataclass, field

from firmware_protocol.dialect import Published


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a new MQTT 5 session with this will, clean, as native cabinets do."""

    will: Published


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectVendor:
    """Open a new MQTT 3.1.1 session that the broker keeps, as Volinks cabinets may.

    `host` and `port` None: those of the fleet's broker; `password` None: the one of the fleet's broker, if any.
    """

    client_id: str
    username: str
    password: str | None
    topics: tuple[str, ...]
    host: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class ConnectTcp:
    """Open a TCP connection to the fleet's Relink server; what is published to it are bytes without a topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """A call to the fleet's HTTP server; the answer comes to `answered`. `body` None: GET."""

    name: str
    path: str
    parameters: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Hangup:
    """End the session. `clean`: with a DISCONNECT, so that the broker drops the will; otherwise as a cut wire does."""

    clean: bool


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download `url`, of which `size` bytes are expected, and tell `Cabinet.fetched`."""

    command_id: str
    url: str
    size: int


@dataclass(frozen=True, slots=True)
class Rotate:
    """Exchange `token` at `url` for a new credential, and tell `Cabinet.rotated`."""

    command_id: str
    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogPiece:
    index: int
    last: bool
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BringLog:
    """Bring these pieces over HTTP, signed, and tell `Cabinet.brought` which of them did not get there."""

    command_id: str
    request_id: str
    pieces: tuple[LogPiece, ...]


Opening = Connect | ConnectVendor | ConnectTcp
Output = Published | Opening | HttpCall | Hangup | Fetch | Rotate | BringLog
