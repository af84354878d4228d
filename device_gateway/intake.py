"""Bytes to messages, sorted by what happens to them next. No database."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from device_gateway import dialects
from device_gateway.received import Received
from firmware_protocol.errors import ProtocolError
from firmware_protocol.messages import Booted, JournalLost, Stream, UpFrame
from fleet.devices.dead_letters import Rejected


class Arrived(NamedTuple):
    """A decoded message and where it came from."""

    frame: UpFrame
    received: Received


@dataclass(slots=True)
class Intake:
    #: Booted, Online, Offline.
    session: list[Arrived] = field(default_factory=list)
    lost: list[Arrived] = field(default_factory=list)
    events: list[Arrived] = field(default_factory=list)
    samples: list[Arrived] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def everything(self) -> list[Arrived]:
        return [*self.session, *self.lost, *self.events, *self.samples]

    def boots(self) -> list[Arrived]:
        return [each for each in self.session if isinstance(each.frame.message, Booted)]


def sort(batch: Sequence[Received]) -> Intake:
    """Decode every message; what cannot be decoded is in `rejected` with the reason."""
    intake = Intake()
    events = intake.events
    for received in batch:
        try:
            frame = dialects.of_topic(received.topic).decode(received.topic, received.payload, received.content_type)
        except ProtocolError as error:
            intake.rejected.append(reject(received, error.code, str(error)))
            continue
        stream = frame.message.stream
        if stream is Stream.EVENT:
            events.append(Arrived(frame, received))
        elif stream is Stream.SAMPLE:
            intake.samples.append(Arrived(frame, received))
        elif isinstance(frame.message, JournalLost):
            intake.lost.append(Arrived(frame, received))
        else:
            intake.session.append(Arrived(frame, received))
    return intake


def reject(received: Received, code: str, reason: str) -> Rejected:
    return Rejected(
        topic=received.topic,
        station_code=station_of(received.topic),
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
