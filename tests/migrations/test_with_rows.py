"""A database that has been in use since the first release goes to the newest schema, and nothing of it is lost.

The rows are written with the words of that time: no model of today knows what the tables looked like.
"""

import json
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.orm import Session

from cli.migrations import upgrade
from fleet.common.clock import utc_now
from fleet.db import create_engine_from
from fleet.devices.models import DeadLetter, DeviceCommand, DeviceEvent, DeviceSession, DeviceStream
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.models import LedgerAccount, LedgerTransfer
from fleet.payments.proof import prove
from fleet.payments.wallets import balance, wallet_of
from fleet.rentals.cases.models import OrphanBankCase
from fleet.rentals.models import Rental, RentalEvent
from fleet.rentals.tariffs.models import Tariff
from fleet.stations.models import PowerBank, PowerBankMovement, Station, StationSlot
from fleet.users.models import User
from tests.databases import DatabaseServer

#: All tables of the first release are there; nothing of later ones is.
FIRST_RELEASE: Final = "20261123_09"
Row = dict[str, Any]

AT, LATER = "2026-11-23T12:00:00+00:00", "2026-11-23T13:00:00+00:00"
RIDER, OPERATOR = (str(UUID(int=n)) for n in (1, 2))
WALLET, CLEARING, REVENUE = (str(UUID(int=n)) for n in (11, 12, 13))
INTENT, TOP_UP, HOLD, CHARGE, OPEN_HOLD = (str(UUID(int=n)) for n in (21, 22, 23, 24, 25))
TARIFF, STATIONS_TARIFF, OLDER_TARIFF = (str(UUID(int=n)) for n in (31, 32, 33))
DONE, UNDER_WAY = (str(UUID(int=n)) for n in (41, 42))
EJECT, QUESTION = (str(UUID(int=n)) for n in (51, 52))

_STATION: Final[Row] = {
    "latitude": 38.7, "longitude": -9.1, "h3_cell": 1, "time_zone": "Europe/Lisbon", "status": "active",
    "slot_count": 2, "online": True, "online_changed_at": AT, "last_heard_at": LATER, "created_at": AT,
    "updated_at": AT, "country": "PT",
}  # fmt: skip
_SLOT: Final[Row] = {"state": "occupied", "observed_boot": 4, "observed_seq": 9, "observed_at": AT}
_BANK: Final[Row] = {"charge_pct": 80, "cycles": 12, "seen_station_id": 1, "created_at": AT, "updated_at": AT}
_TARIFF: Final[Row] = {
    "currency": "EUR", "unlock_minor": 100, "free_period": "00:05:00", "interval_minor": 50,
    "interval_length": "00:30:00", "daily_cap_minor": 1000, "total_cap_minor": 3000, "hold_minor": 500,
    "overdue_after": "1 day", "valid_from": AT,
}  # fmt: skip
_TERMS: Final[Row] = {
    "currency": "EUR", "unlock_minor": 100, "free_period_s": 300, "interval_minor": 50, "interval_length_s": 1800,
    "daily_cap_minor": 1000, "total_cap_minor": 3000, "hold_minor": 500, "overdue_after_s": 86400,
}  # fmt: skip
_RENTAL: Final[Row] = {
    "user_id": RIDER, "station_out_id": 1, "requested_at": AT, "eject_attempts": 1, "started_at": AT,
    "start_evidence": "result", "tariff_id": TARIFF, "terms": _TERMS, "time_zone": "Europe/Lisbon",
    "currency": "EUR",
}  # fmt: skip
_ACCOUNT: Final[Row] = {"currency": "EUR", "normal_side": "credit", "overdraft_allowed": False, "created_at": AT}
_HOUSE: Final[Row] = {**_ACCOUNT, "overdraft_allowed": True}
_TRANSFER: Final[Row] = {"currency": "EUR", "created_at": AT}

#: In the order of their references.
ROWS: Final[tuple[tuple[str, Row], ...]] = (
    ("country", {"iso_code": "PT", "name": "Portugal", "dial_code": "+351", "currency": "EUR", "locale": "pt",
                 "time_zone": "Europe/Lisbon"}),
    ("app_user", {"id": RIDER, "email": "rider@example.com", "status": "active", "tokens_valid_from": AT,
                  "created_at": AT}),
    ("app_user", {"id": OPERATOR, "email": "boss@example.com", "role": "operator", "status": "active",
                  "tokens_valid_from": AT, "created_at": AT}),
    ("user_audit_log", {"actor_id": OPERATOR, "action": "station.create", "target": "A", "detail": {}, "at": AT}),
    ("station", {**_STATION, "id": 1, "code": "A", "name": "Station", "city": "Lisboa"}),
    ("station", {**_STATION, "id": 2, "code": "B", "name": "Library", "status": "maintenance", "online": False}),
    ("power_bank", {**_BANK, "id": 1, "serial": "PB1", "state": "available"}),
    ("power_bank", {**_BANK, "id": 2, "serial": "PB2", "state": "rented"}),
    ("power_bank", {**_BANK, "id": 3, "serial": "PB3", "state": "quarantined", "quarantine_reason": "swollen"}),
    ("station_slot", {**_SLOT, "id": 1, "station_id": 1, "number": 1, "power_bank_id": 1}),
    ("station_slot", {**_SLOT, "id": 2, "station_id": 1, "number": 2, "state": "empty"}),
    ("station_slot", {**_SLOT, "id": 3, "station_id": 2, "number": 1, "power_bank_id": 3, "fault": "jam",
                      "disabled_reason": "broken"}),
    ("station_slot", {**_SLOT, "id": 4, "station_id": 2, "number": 2, "state": "unknown"}),
    ("station_fault", {"station_id": 2, "kind": "tamper", "active": True, "boot": 1, "seq": 3, "at": AT}),
    ("device_session", {"station_id": 1, "epoch": 7, "boot": 4, "firmware": "1.0", "hardware": "h",
                        "reset_cause": "power_on", "connected_at": AT, "last_seen_at": LATER}),
    ("device_stream", {"station_id": 1, "boot": 4, "acked_through": 9, "applied_through": 9, "seen_through": 9}),
    ("device_event", {"station_id": 1, "boot": 4, "seq": 9, "type": "power_bank_ejected", "at_ms": 5,
                      "received_at": AT, "replayed": False, "raw": "\\x7b7d", "encoding": 1, "applied_at": AT}),
    ("device_command", {"id": EJECT, "station_id": 1, "kind": "eject_power_bank", "args": {"slot": 2},
                        "state": "succeeded", "deadline": AT, "attempt": 1, "created_at": AT, "settled_at": AT,
                        "outcome": "succeeded", "rental_id": UNDER_WAY}),
    ("device_command", {"id": QUESTION, "station_id": 1, "kind": "query_inventory", "args": {}, "state": "queued",
                        "deadline": LATER, "created_at": AT}),
    ("dead_letter", {"topic": "vb/v1/A/up/event", "station_code": "A", "payload": "\\x00ff", "error_code": "malformed",
                     "error": "not JSON", "received_at": AT, "state": "waiting"}),
    ("ledger_account", {**_ACCOUNT, "id": WALLET, "owner_id": RIDER, "kind": "wallet"}),
    ("ledger_account", {**_HOUSE, "id": CLEARING, "kind": "provider_clearing", "normal_side": "debit"}),
    ("ledger_account", {**_HOUSE, "id": REVENUE, "kind": "revenue"}),
    ("wallet", {"id": str(UUID(int=14)), "user_id": RIDER, "currency": "EUR", "account_id": WALLET, "created_at": AT}),
    ("payment_intent", {"id": INTENT, "user_id": RIDER, "purpose": "top_up", "amount_minor": 5000, "currency": "EUR",
                        "provider": "sandbox", "provider_reference": "ch_1", "state": "succeeded", "created_at": AT,
                        "updated_at": AT, "confirmed_at": AT}),
    ("ledger_transfer", {**_TRANSFER, "id": TOP_UP, "debit_account_id": CLEARING, "credit_account_id": WALLET,
                         "amount_minor": 5000, "posted_minor": 5000, "kind": "top_up", "state": "posted",
                         "idempotency_key": "top-up", "intent_id": INTENT, "settled_at": AT}),
    ("ledger_transfer", {**_TRANSFER, "id": CHARGE, "debit_account_id": WALLET, "credit_account_id": REVENUE,
                         "amount_minor": 150, "posted_minor": 150, "kind": "charge", "state": "posted",
                         "idempotency_key": "charge", "rental_id": DONE, "settled_at": LATER}),
    ("ledger_transfer", {**_TRANSFER, "id": OPEN_HOLD, "debit_account_id": WALLET, "credit_account_id": REVENUE,
                         "amount_minor": 500, "kind": "hold", "state": "pending", "idempotency_key": "hold",
                         "rental_id": UNDER_WAY}),
    ("tariff", {**_TARIFF, "id": TARIFF, "name": "everywhere"}),
    ("tariff", {**_TARIFF, "id": OLDER_TARIFF, "name": "Lisboa", "city": "Lisboa", "country": "PT"}),
    ("tariff", {**_TARIFF, "id": STATIONS_TARIFF, "name": "B only", "station_id": 2, "interval_minor": 70}),
    ("rental", {**_RENTAL, "id": DONE, "state": "completed", "power_bank_id": 1, "slot_out": 1, "station_in_id": 1,
                "slot_in": 1, "ended_at": LATER, "closed_at": LATER, "price_minor": 150, "price_lines": [],
                "charged_minor": 150}),
    ("rental", {**_RENTAL, "id": UNDER_WAY, "state": "active", "open_place": 1, "power_bank_id": 2, "slot_out": 2,
                "hold_transfer_id": OPEN_HOLD}),
    ("rental_event", {"rental_id": DONE, "from_state": "active", "to_state": "completed", "why": "returned",
                      "evidence": {}, "at": LATER, "recorded_at": LATER}),
    ("rental_event", {"rental_id": UNDER_WAY, "from_state": "ejecting", "to_state": "active", "why": "ejected",
                      "evidence": {"boot": 4}, "at": AT, "recorded_at": AT}),
    ("power_bank_movement", {"power_bank_id": 2, "station_id": 1, "slot_number": 2, "kind": "ejected",
                             "rental_id": UNDER_WAY, "boot": 4, "seq": 9, "at": AT}),
    ("orphan_bank_case", {"id": str(UUID(int=61)), "power_bank_id": 3, "station_id": 2, "slot_number": 1,
                          "reason": "vanished", "evidence": {}, "state": "resolved", "opened_at": AT,
                          "resolved_at": LATER}),
    ("outbox_event", {"name": "rentals.RentalStarted.v1", "payload": {"rental_id": UNDER_WAY}, "created_at": AT}),
    ("station_telemetry", {"station_id": 1, "at": AT, "signal_dbm": -70, "mains": True, "temperature_c": 31.5}),
    ("slot_telemetry", {"station_id": 1, "slot": 1, "at": AT, "power_bank_id": 1, "charge_pct": 80,
                        "voltage_mv": 4000}),
)  # fmt: skip
MODELS: Final = (
    User, Station, StationSlot, PowerBank, PowerBankMovement, DeviceSession, DeviceStream, DeviceEvent, DeviceCommand,
    DeadLetter, LedgerAccount, LedgerTransfer, PaymentIntent, Tariff, Rental, RentalEvent, OrphanBankCase,
)  # fmt: skip


@pytest.fixture
def in_use(database_server: DatabaseServer) -> Iterator[tuple[str, Engine]]:
    """A database of the first release with something in every important table."""
    with database_server.empty() as url:
        upgrade(url, FIRST_RELEASE)
        engine = create_engine_from(url, name="voltbay-test")
        with engine.begin() as connection:
            for table, row in ROWS:
                _insert(connection, table, row)
        yield url, engine
        engine.dispose()


def _insert(connection: Connection, table: str, row: Row) -> None:
    columns = ", ".join(row)
    statement = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_record(NULL::{table}, :row)"
    connection.execute(text(statement.replace(":row", "CAST(:row AS json)")), {"row": json.dumps(row)})


def _contents(engine: Engine) -> dict[str, list[Row]]:
    """Every row of those tables, as JSON."""
    tables = dict.fromkeys(table for table, _ in ROWS)
    with engine.connect() as connection:
        return {
            table: list(connection.scalars(text(f"SELECT to_jsonb(t) FROM {table} t")))  # our own names
            for table in tables
        }


def test_nothing_is_lost_on_the_way_to_the_newest_schema(in_use: tuple[str, Engine]) -> None:
    url, engine = in_use
    before = _contents(engine)
    upgrade(url)
    after = _contents(engine)
    lost = [
        f"{table}: {row}"
        for table, rows in before.items()
        for row in rows
        if not any(row.items() <= found.items() for found in after[table])
    ]
    assert not lost, "\n".join(lost)
    assert {table: len(rows) for table, rows in before.items()} == {table: len(rows) for table, rows in after.items()}
    with Session(engine) as session:
        for model in MODELS:
            assert session.scalars(select(model)).all(), model
        assert prove(session, utc_now()).ok
        money = balance(session, wallet_of(session, UUID(RIDER), "EUR", utc_now()))
    assert (money.posted_minor, money.held_minor) == (4850, 500)
