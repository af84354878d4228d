"""A Volinks cabinet of four holes whose frames go through the gateway's own code, with riders and money around it."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from device_gateway import claims, intake
from device_gateway.business import fact_handler
from device_gateway.claims import Claimant
from device_gateway.directory import Directory
from device_gateway.ingest import Done
from device_gateway.received import Received
from device_gateway.vendor_sessions import open_for
from device_gateway.vendors import VendorIngest
from firmware_protocol.dialects.volinks import codec, commands, topics
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.frames import (
    Heartbeat,
    PopBySerialResult,
    ReturnResult,
    SelfTestReturn,
    UpFrame,
)
from firmware_protocol.dialects.volinks.topics import Kind
from fleet.common.vault import Vault
from fleet.devices import presence
from fleet.devices.facts import DeviceFact
from fleet.devices.models import DeviceCommand, DeviceEvent
from fleet.rentals.models import Rental
from fleet.rentals.starts.ejects import ask_inventory
from fleet.settings import Settings
from fleet.stations.models import Station
from tests.factories import add_banks, add_rider, add_station
from tests.fleet.rentals.world import SECOND, World

IMEI = "864601068412899"
CODE = "V"
HOLES = 4
BANKS = {1: 10001001, 2: 10001002, 3: 10001003}


class VolinksWorld(World):
    """Station V: banks 10001001 90 %, …02 80 %, …03 70 % in holes 1 to 3 of 4, known by an inventory of its own."""

    def __init__(self, session: Session, engine: Engine, now: datetime) -> None:
        super().__init__(session, now)
        station = add_station(session, now, CODE, HOLES)
        station.dialect, station.hardware_id, station.online = "volinks", IMEI, False
        self.stations[CODE] = station
        add_banks(session, now, [str(serial) for serial in BANKS.values()])
        session.flush()
        settings = Settings()
        self.vault = Vault.of(settings, "test")
        self.claimant = Claimant("gateway-one", self.vault)
        self.directory = Directory()
        self.ingest = VendorIngest(engine, self.directory, fact_handler(settings), self.vault)
        self.sent: list[commands.DownCommand] = []
        self.beat()
        self.later(SECOND)
        self.claim()
        self.inventory_of({hole: (serial, 100 - 10 * hole) for hole, serial in BANKS.items()})
        self.sent.clear()
        self.later(10 * SECOND)

    # What the cabinet says

    def hear(self, frame: UpFrame | bytes, kind: Kind = Kind.UPDATE, *, imei: str = IMEI) -> Done:
        payload = frame if isinstance(frame, bytes) else codec.encode_up(frame)
        received = Received(topics.topic(imei, kind), payload, None, 0, 1, 1, self.now.timestamp())
        self.directory.learn_hardware(self.session, [imei])
        sorted_ = intake.sort([received], self.directory)
        assert sorted_.vendors, (sorted_.rejected, sorted_.foreign_strangers)
        open_for(self.session, {each.station.id: each for each in sorted_.vendors}, self.now)
        done = self.ingest.take_in(self.session, sorted_.vendors, self.now)
        presence.heard(self.session, done.heard, self.now)
        self.session.expire_all()
        return done

    def beat(self) -> Done:
        return self.hear(Heartbeat(board=0x10, data=b"CSQ:27;BP:2"), Kind.HEART)

    def inventory_of(self, banks: Mapping[int, tuple[int, int]], *, holes: int = HOLES, state: int = 1) -> Done:
        """Hole → serial and charge."""
        told = [
            Hole(hole=hole, state=state, sn=banks[hole][0], soc_raw=banks[hole][1], temp_raw=25, battery_raw=190)
            if hole in banks
            # Empty holes are full of garbage (4.2).
            else Hole(hole=hole, state=0, sn=0x00040000, soc_raw=0xFF, temp_raw=0xFF, sensor_raw=0x80)
            for hole in range(1, holes + 1)
        ]
        return self.hear(Inventory(boards=(Board(address=1, holes=tuple(told)),)))

    def slots_as_they_are(self, *, without: int | None = None) -> Done:
        """What the cabinet answers when it holds what the books say, but for one hole."""
        return self.inventory_of({h: (s, 100 - 10 * h) for h, s in BANKS.items() if h != without})

    def popped(self, serial: int, state: int = 1) -> Done:
        return self.hear(PopBySerialResult(byte4=0x60, sn=serial, state=state))

    def put_back(self, hole: int, serial: int, state: int = 1, charge: int = 40) -> Done:
        return self.hear(ReturnResult(board=1, hole=hole, area=0, sn=serial, state=state, soft=8, soc_raw=charge))

    def found(self, hole: int, serial: int, state: int = 1, charge: int = 40) -> Done:
        return self.hear(SelfTestReturn(board=1, hole=hole, state=state, sn=serial, soc_raw=charge))

    # What the gateway does

    def claim(self) -> list[commands.DownCommand]:
        """What goes out now."""
        orders, _ = claims.claim(self.session, self.claimant, self.now)
        self.session.flush()
        assert all(order.message.qos == 0 and not order.message.retain for order in orders)
        assert {order.message.topic for order in orders} <= {topics.topic(IMEI, Kind.GET)}
        found = [commands.decode_down(order.message.payload) for order in orders]
        self.sent += found
        return found

    @property
    def pops(self) -> list[int]:
        """Serials of all ejects that went out."""
        return [each.sn for each in self.sent if isinstance(each, commands.PopBySerial)]

    @property
    def checks(self) -> int:
        return sum(each == commands.Plain(commands.Word.CHECK) for each in self.sent)

    def ordered(self, slot: int | None = None) -> tuple[Rental, DeviceCommand]:
        """A rental whose eject has gone out."""
        rental = self.start(CODE, slot)
        self.claim()
        return rental, self.command(rental)

    def ask(self) -> None:
        """An inventory is asked for, now."""
        ask_inventory(self.session, self.stations[CODE].id, self.policy, self.now)
        assert commands.Plain(commands.Word.CHECK) in self.claim()

    @staticmethod
    def nobody(session: Session, fact: DeviceFact, now: datetime) -> None:
        """A handler that must not be reached."""
        raise AssertionError((session, fact, now))

    def another_rider(self) -> UUID:
        return add_rider(self.session, self.now)

    def station(self) -> Station:
        return self.session.get_one(Station, self.stations[CODE].id, populate_existing=True)

    def events(self) -> list[DeviceEvent]:
        query = select(DeviceEvent).where(DeviceEvent.station_id == self.stations[CODE].id)
        return list(self.session.scalars(query.order_by(DeviceEvent.boot, DeviceEvent.seq)))
