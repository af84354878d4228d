"""The TCP connections of Relink cabinets that one gateway holds. No sockets are read or written here."""

import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.dialects.relink.translate import PREFIX, Place, place_of
from firmware_protocol.vendor import Admission

#: Cabinets of one private network may share an address; a stranger must not take all places.
MOST: Final = 20_000
MOST_PER_ADDRESS: Final = 5_000


@dataclass(slots=True)
class Connection:
    number: int
    sock: socket.socket
    address: str
    heard_at: float
    framer: Framer = field(default_factory=Framer)
    waiting: bytearray = field(default_factory=bytearray)
    #: Known from the login on; its epoch from the admission on.
    place: Place | None = None
    station_id: int | None = None
    heartbeat: bytes | None = None

    @property
    def admitted(self) -> bool:
        return self.station_id is not None


class RelinkTable:
    """For one thread; `stations` may be read by others."""

    def __init__(self) -> None:
        self._connections: dict[int, Connection] = {}
        self._by_box: dict[str, int] = {}
        self._addresses: Counter[str] = Counter()
        self._numbers = 0
        #: Ids of the stations that were let in.
        self.stations: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        """Those of now: they may be removed meanwhile."""
        return iter(list(self._connections.values()))

    def __contains__(self, each: Connection) -> bool:
        return each.number in self._connections

    def get(self, number: int) -> Connection | None:
        return self._connections.get(number)

    def has_room_for(self, address: str) -> bool:
        return len(self._connections) < MOST and self._addresses[address] < MOST_PER_ADDRESS

    def add(self, sock: socket.socket, address: str, now: float) -> Connection:
        self._numbers += 1
        each = Connection(self._numbers, sock, address, now)
        self._connections[each.number] = each
        self._addresses[address] += 1
        return each

    def remove(self, each: Connection) -> bool:
        """Whether it was still there."""
        if self._connections.pop(each.number, None) is None:
            return False
        self._addresses[each.address] -= 1
        if not self._addresses[each.address]:
            del self._addresses[each.address]
        if each.place is not None and self._by_box.get(each.place.box_id) == each.number:
            del self._by_box[each.place.box_id]
        if each.admitted:
            self._note_stations()
        return True

    def at(self, topic: str) -> Connection | None:
        """Of a box, or the very one that the topic names."""
        if topic.count("/") == 1:
            return self._connections.get(self._by_box.get(topic.removeprefix(f"{PREFIX}/"), 0))
        return self._connections.get(place_of(topic).connection)

    def admit(self, each: Connection, admission: Admission) -> Connection | None:
        """It is the one of its box from now on; returns the one before it, which is to be closed."""
        assert each.place is not None  # its login was handed over
        each.place = each.place._replace(epoch=admission.epoch)
        each.station_id, each.heartbeat = admission.station_id, admission.heartbeat
        older = self._connections.get(self._by_box.get(each.place.box_id, 0))
        self._by_box[each.place.box_id] = each.number
        self._note_stations()
        return None if older is each else older

    def _note_stations(self) -> None:
        self.stations = frozenset(each.station_id for each in self._connections.values() if each.station_id is not None)
