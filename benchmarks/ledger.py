"""`python -m benchmarks.ledger`: postings a second against bare INSERTs; pages of a statement of a million lines."""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from statistics import median
from typing import Final
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from benchmarks.results import Report, percentile, ratio_of_pairs, save, show
from benchmarks.services import connections, services
from fleet.common.money import Money
from fleet.db import new_id, session_scope
from fleet.payments import ledger, statements, wallets
from fleet.payments.models import AccountKind
from fleet.users.models import User

_THREADS: Final = 4
_FUNDS: Final = 10**12
_NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
_PAGE: Final = 50
#: A table with the columns and indexes of transfers, and none of their rules.
_BARE_TABLE: Final = """
CREATE TABLE bare_transfer (LIKE ledger_transfer);
ALTER TABLE bare_transfer ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX ON bare_transfer (idempotency_key);
CREATE INDEX ON bare_transfer (debit_account_id, id);
CREATE INDEX ON bare_transfer (credit_account_id, id);
CREATE INDEX ON bare_transfer (rental_id);
CREATE INDEX ON bare_transfer (intent_id);
"""
_BARE: Final = text(
    "INSERT INTO bare_transfer (id, debit_account_id, credit_account_id, amount_minor, posted_minor, currency, kind,"
    " state, idempotency_key, created_at, settled_at)"
    " VALUES (:id, :debit, :credit, 7, 7, 'EUR', 'test', 'posted', :key, :now, :now)"
)
#: History as the triggers would have written it, quickly; the proof is not run over it.
_HISTORY: Final = (
    "ALTER TABLE ledger_transfer DISABLE TRIGGER USER",
    "ALTER TABLE wallet_transaction DISABLE TRIGGER USER",
    """
    WITH moved AS (
        INSERT INTO ledger_transfer (id, debit_account_id, credit_account_id, amount_minor, posted_minor, currency,
                                     kind, state, idempotency_key, created_at, settled_at)
        SELECT (lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid, :house, :account, 7, 7, 'EUR', 'adjustment',
               'posted', 'bench:' || :account || ':' || n, :now, :now
          FROM generate_series(CAST(:first AS bigint), :first + :lines - 1) AS n
        RETURNING id)
    INSERT INTO wallet_transaction (account_id, transfer_id, amount_minor, balance_minor, at)
    SELECT :account, id, 7, 7 * row_number() OVER (ORDER BY id), :now FROM moved ORDER BY id""",
    "ALTER TABLE ledger_transfer ENABLE TRIGGER USER",
    "ALTER TABLE wallet_transaction ENABLE TRIGGER USER",
)


def run(*, quick: bool) -> Report:
    report = Report("ledger", "postings, and statements of long histories", quick)
    with services() as running, connections(running.postgres.url, _THREADS) as engine:
        pairs = (wallets_with_money(engine), house(engine))
        with engine.begin() as connection:
            connection.execute(text(_BARE_TABLE))
        ours, bare = [], []
        for _ in range(1 if quick else 5):
            bare.append(per_second(engine, bare_insert, pairs, quick=quick))
            ours.append(per_second(engine, post, pairs, quick=quick))
        report.add("bare INSERTs, one a transaction", median(bare), "/s", note=f"{_THREADS} connections")
        report.add("postings, one a transaction", median(ours), "/s", note="balances, limits, key, statement line")
        report.add("postings / bare INSERTs", ratio_of_pairs(ours, bare), "", target=0.3)
        pages(engine, report, quick=quick)
    return report


def house(engine: Engine) -> UUID:
    with session_scope(engine) as session:
        return ledger.house_accounts(session, "EUR", _NOW)[AccountKind.REVENUE]


def wallets_with_money(engine: Engine) -> list[UUID]:
    """One a thread: riders do not wait for each other."""
    with session_scope(engine) as session:
        return [_rider(session, _FUNDS) for _ in range(_THREADS)]


def _rider(session: Session, funds: int) -> UUID:
    id_ = new_id()
    session.add(User(id=id_, email=f"{id_}@example.com", tokens_valid_from=_NOW, created_at=_NOW))
    session.flush()  # the wallet's account refers to the user
    if funds:
        money = Money(funds, "EUR")
        wallets.adjust(session, user_id=id_, money=money, reason="bench", actor_id=id_, key="bench", now=_NOW)
    return wallets.wallet_of(session, id_, "EUR", _NOW).account_id


Work = Callable[[Session, UUID, UUID], object]


def post(session: Session, wallet: UUID, credit: UUID) -> object:
    return ledger.transfer(
        session, debit=wallet, credit=credit, money=Money(7, "EUR"), kind="test", key=str(new_id()), now=_NOW
    )


def bare_insert(session: Session, wallet: UUID, credit: UUID) -> object:
    id_ = new_id()
    return session.execute(_BARE, {"id": id_, "debit": wallet, "credit": credit, "key": str(id_), "now": _NOW})


def per_second(engine: Engine, work: Work, pairs: tuple[list[UUID], UUID], *, quick: bool) -> float:
    """Transactions a second of several connections."""
    riders, credit = pairs
    count = 20 if quick else 600

    def one(wallet: UUID) -> None:
        for _ in range(count):
            with session_scope(engine) as session:
                work(session, wallet, credit)

    with ThreadPoolExecutor(_THREADS) as pool:
        began = time.perf_counter()
        list(pool.map(one, riders))
        return count * _THREADS / (time.perf_counter() - began)


def pages(engine: Engine, report: Report, *, quick: bool) -> None:
    """The first, and one from the middle, of a short and of a long statement, by turns."""
    sizes = (100, 1_000) if quick else (1_000, 1_000_000)
    accounts = {size: _with_history(engine, size, index) for index, size in enumerate(sizes)}
    times: dict[tuple[int, str], list[float]] = {}
    for _ in range(20 if quick else 300):
        for size, (account, middle) in accounts.items():
            for name, before in (("first", None), ("middle", middle)):
                with session_scope(engine) as session:
                    began = time.perf_counter()
                    statements.statement(session, account, _PAGE, before)
                    times.setdefault((size, name), []).append((time.perf_counter() - began) * 1000)
    small, large = sizes
    for (size, name), values in sorted(times.items()):
        report.add(
            f"{name} page of {size:,} lines", median(values), "ms", note=f"p99 {percentile(values, 0.99):.2f} ms"
        )
    for name in ("first", "middle"):
        ratio = median(times[large, name]) / median(times[small, name])
        report.add(f"{name} page: {large:,} / {small:,} lines", ratio, "", target=1.5, at_least=False)


def _with_history(engine: Engine, lines: int, index: int) -> tuple[UUID, int]:
    """An account with so many lines, and the number of one in their middle."""
    with session_scope(engine) as session:
        account = _rider(session, 0)
        values = {
            "account": account,
            "house": ledger.house_accounts(session, "EUR", _NOW)[AccountKind.ADJUSTMENTS],
            "lines": lines,
            "first": index * 10_000_000 + 1,
            "now": _NOW,
        }
        for statement in _HISTORY:
            session.execute(text(statement), values if ":account" in statement else {})
        middle = session.execute(
            text("SELECT min(id) + :half FROM wallet_transaction WHERE account_id = :account"),
            {"account": account, "half": lines // 2},
        ).scalar_one()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE ledger_transfer, wallet_transaction"))
    return account, int(middle)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.quick or report.met else 1


if __name__ == "__main__":
    sys.exit(main())
