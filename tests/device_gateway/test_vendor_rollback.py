"""A transaction of vendors' frames that is not committed: nothing it wrote counts as written."""

from datetime import datetime

import pytest
from sqlalchemy import event, text

from device_gateway import intake
from device_gateway.business import fact_handler
from device_gateway.directory import Directory
from device_gateway.received import Received
from device_gateway.vendors import VendorIngest
from firmware_protocol.dialects.volinks import codec, topics
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.topics import Kind
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.settings import Settings
from tests.databases import Database
from tests.factories import add_banks, add_station
from tests.model.deaths import Died

IMEI = "864601068412899"
SERIAL = 10001001


def _inventory(now: datetime, charge: int) -> Received:
    full = Hole(hole=1, state=1, sn=SERIAL, soc_raw=charge, temp_raw=25, battery_raw=190)
    payload = codec.encode_up(Inventory(boards=(Board(address=1, holes=(full, Hole(hole=2, state=0, sn=0))),)))
    return Received(topics.topic(IMEI, Kind.UPDATE), payload, None, 0, 0, 0, now.timestamp())


def test_what_a_bank_measured_is_written_with_the_next_try(clean_database: Database, now: datetime) -> None:
    engine, directory = clean_database.engine, Directory()
    with session_scope(engine) as session:
        station = add_station(session, now, "V", 2)
        station.dialect, station.hardware_id = "volinks", IMEI
        add_banks(session, now, [str(SERIAL)])
        session.flush()
        directory.learn_hardware(session, [IMEI])
    ingest = VendorIngest(engine, directory, fact_handler(Settings()), Vault(b"k" * 32))
    frames = intake.sort([_inventory(now, 90)], directory).vendors
    commits = 0

    def second_dies(*_: object) -> None:
        nonlocal commits
        commits += 1
        if commits == 2:  # the first is of the session that the cabinet is given
            raise Died

    event.listen(engine, "commit", second_dies)
    with pytest.raises(Died):
        ingest.take(frames, now)
    ingest.take(frames, now)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT charge_pct, sampled_at FROM power_bank")).one()
    assert tuple(found) == (90, now)
