"""What a simulator process is started with."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from firmware_protocol.firmware.trust import factory_trust
from simulators.fleet import CONNECTS_PER_S
from simulators.spec import FleetSpec, Kind, default_fleet, load_fleet
from simulators.tuning import REALISTIC_EJECT_MS, Tuning, Wire

DEFAULT_MQTT_URL: Final = "mqtt://127.0.0.1:1883"


class SimulatorOptions(Struct, frozen=True, kw_only=True):
    """`control_port` 0: a free one, printed; None: no control API. `codes_file` replaces `stations`.

    `state`: folder that carries the cabinets over a restart; None: they start as the seed makes them.
    """

    stations: int = 4
    mqtt_url: str = DEFAULT_MQTT_URL
    seed: int = 1
    control_port: int | None = 0
    state: Path | None = None
    encoding: Wire = Wire.JSON
    #: Fixed duration of an eject, or a range.
    eject_ms: tuple[int, int] = REALISTIC_EJECT_MS
    #: None: as the backend's welcome says.
    telemetry_s: float | None = None
    heartbeat_s: float | None = None
    codes_file: Path | None = None
    connects_per_s: float = CONNECTS_PER_S
    #: Envelope of the root of trust that the cabinets left the factory with; None: they take no updates.
    firmware_root: Path | None = None
    #: What `stations` cabinets are; a .json file says it for each of its own.
    kind: Kind = Kind.NATIVE
    #: Base of vendors' HTTP calls, and host:port of the server for Relink cabinets.
    http_url: str | None = None
    relink: str | None = None

    def relink_address(self) -> tuple[str, int] | None:
        """Raises ValueError for anything but host:port."""
        if self.relink is None:
            return None
        host, _, port = self.relink.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"expected host:port of a Relink server, got {self.relink!r}")
        return host, int(port)

    def fleet(self) -> FleetSpec:
        """The stations to simulate. Raises OSError and ValueError for a file that cannot be used."""
        if self.codes_file is not None:
            return load_fleet(self.codes_file, self.seed)
        return default_fleet(self.stations, self.seed, kind=self.kind)

    def tuning(self) -> Tuning:
        """Raises OSError and FirmwareRefused for a root of trust that cannot be used."""
        return Tuning(
            encoding=self.encoding,
            eject_ms=self.eject_ms,
            telemetry_s=self.telemetry_s,
            heartbeat_s=self.heartbeat_s,
            trust=None if self.firmware_root is None else factory_trust(self.firmware_root.read_bytes()),
        )
