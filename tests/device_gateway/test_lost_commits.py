"""COMMIT does not reach PostgreSQL, or its answer does not come back: nothing is acknowledged by it, and the next try
ends where one undisturbed try ends.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from select import select
from threading import Event, Thread

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from device_gateway import faults
from fleet.db import create_engine_from
from fleet.devices.facts import DeviceFact
from tests.databases import Database
from tests.device_gateway.support import Bench, add_station, insert, lock


class Wire:
    """Between us and PostgreSQL. Once `cut_after` is set, the next COMMIT is the last that it carries (True), or is not
    carried any more (False), and its connection ends without an answer.
    """

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.cut_after: bool | None = None
        self.cuts = 0
        self._ending = Event()
        self._accepting = Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        self._ending.set()
        self._accepting.join(5)
        self._server.close()

    def _accept(self) -> None:
        while not self._ending.is_set():
            if select([self._server], [], [], 0.1)[0]:
                Thread(target=self._carry, args=(self._server.accept()[0],), daemon=True).start()

    def _carry(self, ours: socket.socket) -> None:
        with ours, socket.create_connection(self._to) as theirs:
            while not self._ending.is_set():
                for source in select([ours, theirs], [], [], 0.1)[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is ours and self.cut_after is not None and b"COMMIT" in data:
                        carried, self.cut_after = self.cut_after, None
                        self.cuts += 1
                        if carried:
                            theirs.sendall(data)
                            theirs.recv(1 << 16)  # it is done
                        return
                    (theirs if source is ours else ours).sendall(data)


@contextmanager
def _wired(database: Database) -> Iterator[tuple[Engine, Wire]]:
    url = make_url(database.url)
    wire = Wire((url.host or "127.0.0.1", url.port or 5432))
    through = url.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
    engine = create_engine_from(through)
    try:
        yield engine, wire
    finally:
        engine.dispose()
        wire.close()


def _counts(session: Session, fact: DeviceFact, now: datetime) -> None:
    del fact, now
    session.execute(text("UPDATE station SET name = name || 'x'"))


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("many", [1, 20])
def test_what_may_not_be_stored_is_not_acknowledged_and_counts_once(
    clean_database: Database, many: int, carried: bool
) -> None:
    add_station(clean_database.engine, "A")
    with _wired(clean_database) as (engine, wire):
        bench = Bench(engine)
        bench.ingest._handle = _counts
        bench.take(lock("A", 1))
        batch = [insert("A", seq) for seq in range(2, 2 + many)]
        wire.cut_after = carried
        with pytest.raises(OperationalError) as lost:
            bench.take(*batch)
        assert faults.is_transient(lost.value)
        done = bench.take(*batch)
        assert wire.cuts == 1
    assert done.outbound.acks == {("A", 1): 1 + many}
    assert done.tally.duplicates.total() == (many if carried else 0)
    with clean_database.engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM station")) == "A" + many * "x"
        assert connection.scalar(text("SELECT count(*) FROM device_event WHERE applied_at IS NOT NULL")) == 1 + many
        assert connection.scalar(text("SELECT count(*) FROM dead_letter")) == 0
