"""Bytes to messages, sorted by what happens to them next. No database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from device_gateway import dialects
from device_gateway.directory import Directory, StationRef
from device_gateway.received import Received
from firmware_protocol.errors import ProtocolError
from firmware_protocol.messages import Booted, DeducedFrame, JournalLost, Stream, UpFrame
from firmware_protocol.vendor import Sender, VendorDialect
from fleet.devices.dead_letters import Rejected

#: A native frame under the code of a station that has a vendor's cabinet.
WRONG_DIALECT: Final = "wrong_dialect"


class Arrived(NamedTuple):
    """A decoded message, the bytes it came as, and the registered station that sent it."""

    frame: UpFrame | DeducedFrame
    received: Received
    station: StationRef


class Foreign(NamedTuple):
    """A frame of a vendor's cabinet, which is read once more is known of that cabinet."""

    received: Received
    station: StationRef
    dialect: VendorDialect
    sender: Sender


@dataclass(slots=True)
class Intake:
    #: Booted, Online, Offline.
    session: list[Arrived] = field(default_factory=list)
    lost: list[Arrived] = field(default_factory=list)
    events: list[Arrived] = field(default_factory=list)
    samples: list[Arrived] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    #: From codes that the directory does not know (yet).
    strangers: list[tuple[UpFrame, Received]] = field(default_factory=list)
    vendors: list[Foreign] = field(default_factory=list)
    #: From cabinets of vendors that the directory does not know (yet).
    foreign_strangers: list[tuple[Received, VendorDialect, Sender]] = field(default_factory=list)

    def boots(self) -> list[Arrived]:
        return [each for each in self.session if isinstance(each.frame.message, Booted)]

    def place(self, arrived: Arrived) -> None:
        """Where a message of a known station belongs."""
        station = arrived.station
        if station.dialect in dialects.VENDORS:
            # Not what this station's cabinet speaks: somebody uses its code.
            reason = f"station {station.code} has a {station.dialect} cabinet"
            self.rejected.append(reject(arrived.received, WRONG_DIALECT, reason))
            return
        message = arrived.frame.message
        stream = message.stream
        if stream is Stream.EVENT:
            self.events.append(arrived)
        elif stream is Stream.SAMPLE:
            self.samples.append(arrived)
        elif isinstance(message, JournalLost):
            self.lost.append(arrived)
        else:
            self.session.append(arrived)


def sort(batch: Sequence[Received], directory: Directory) -> Intake:
    """Decode every message; what cannot be decoded is in `rejected` with the reason."""
    intake = Intake()
    find, place = directory.get, intake.place
    for received in batch:
        if not received.topic.startswith(dialects.NATIVE_PREFIX):
            _sort_foreign(intake, received, directory)
            continue
        try:
            frame = dialects.of_topic(received.topic).decode(received.topic, received.payload, received.content_type)
        except ProtocolError as error:
            intake.rejected.append(reject(received, error.code, str(error)))
            continue
        station = find(frame.station)
        if station is None:
            intake.strangers.append((frame, received))
        else:
            place(Arrived(frame, received, station))
    return intake


def _sort_foreign(intake: Intake, received: Received, directory: Directory) -> None:
    try:
        dialect = dialects.vendor_of(received.topic)
        if dialect is None:
            dialects.of_topic(received.topic)
            return
        sender = dialect.sender(received.topic)
    except ProtocolError as error:
        intake.rejected.append(reject(received, error.code, str(error)))
        return
    station = directory.by_hardware(sender.hardware_id)
    if station is None or station.dialect != dialect.name:
        intake.foreign_strangers.append((received, dialect, sender))
    else:
        intake.vendors.append(Foreign(received, station, dialect, sender))


def reject(received: Received, code: str, reason: str, station: StationRef | None = None) -> Rejected:
    return Rejected(
        topic=received.topic,
        station_code=station_of(received.topic) if station is None else station.code,
        payload=received.payload,
        content_type=received.content_type,
        error_code=code,
        error=reason,
        received_at=received.received_at,
    )


def station_of(topic: str) -> str | None:
    """The station's level of a topic, for people who look for its frames; None when there is none of that length."""
    parts = topic.split("/")
    return parts[2] if len(parts) == 5 and 0 < len(parts[2]) <= 64 and "\0" not in parts[2] else None
