"""Carries what changes about devices' credentials from PostgreSQL to Mosquitto: one process or thread beside it.

Level-triggered: every round compares what the database says with what the broker was last told, so that a crash costs
one round, wherever it happens. Nothing is noted as done before the broker has done it.
"""

import contextlib
import os
import select
import signal
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

import psutil
import psycopg2
import structlog
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from device_gateway import faults
from device_gateway.backoff import Backoff
from device_gateway.evict import Evictor
from device_gateway.listening import listen
from fleet.common.notify import Channel
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import authority
from fleet.devices.authority import Issuer
from fleet.devices.broker_files import BrokerFolder, BrokerState, Uncut, broker_state, read_password_file
from fleet.devices.identity_models import DeviceCredential
from fleet.settings import Settings

_LOG: Final = structlog.get_logger(__name__)
#: Without a notification the database is asked this often.
POLL_S: Final = 3.0
#: Sessions ended in one round; the watchdog waits for no more.
MOST_CUT: Final = 200
#: One at a time, whoever it is; any constant will do.
_LOCK: Final = 0x766F6C74627379
_PROGRAM: Final = "mosquitto"


class BrokerSync(Thread):
    """Needs `broker_folder`, which the broker reads, and `broker_pid_file` to make it read again."""

    def __init__(self, settings: Settings, engine: Engine, *, clock: Callable[[], datetime]) -> None:
        super().__init__(name="broker-sync", daemon=True)
        if settings.broker_folder is None:
            raise ValueError("VOLTBAY_BROKER_FOLDER says where the broker reads devices' credentials")
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._folder = BrokerFolder(settings.broker_folder)
        self._evictor = Evictor(settings)
        self._ending = Event()
        self._wake_r, self._wake_w = os.pipe()
        self._listener: Any = None
        #: The lock is held by the connection that listens.
        self._leading = False
        #: Read by the watchdog.
        self.beat = monotonic()

    def stop(self, timeout_s: float) -> None:
        self._ending.set()
        os.write(self._wake_w, b"\0")
        if self.is_alive():
            self.join(timeout_s)

    def run(self) -> None:
        backoff = Backoff(longest_s=POLL_S)
        while not self._ending.is_set():
            self.beat = monotonic()
            try:
                if self._leads():
                    self.round()
                self._wait()
                backoff.reset()
            except (OSError, psycopg2.Error) as error:
                self._put_off(error, backoff)
            except Exception as error:
                if not faults.is_transient(error):
                    raise
                self._put_off(error, backoff)
        self._close()

    def prepare(self) -> None:
        """Write everything for a broker that has not started yet."""
        self.write()
        self._folder.note_told()

    def round(self) -> None:
        """Tell the broker what it does not know yet, and end sessions of what is revoked."""
        state = self.write()
        if not self._folder.told():
            self._reload()
        if state.uncut:
            self._cut(state.uncut[:MOST_CUT])

    def write(self) -> BrokerState:
        """Bring the folder in line with the database."""
        now = self._clock()
        static = read_password_file(self._settings.broker_static_passwords)
        with Session(self._engine) as session, session.begin():
            # One snapshot: who is to be cut must be in the list that goes with it.
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            issuer, issuers = self._issuers(session, now)
            state = broker_state(session, now, static)
        if self._folder.write(state, issuers):
            _LOG.info("broker's credentials written", users=len(state.passwords))
        self._server_certificate(issuer, now)
        return state

    def _issuers(self, session: Session, now: datetime) -> tuple[Issuer, list[Issuer]]:
        vault = Vault.of(self._settings, authority.PURPOSE)
        issuer = authority.issuer(session, vault, now)
        return issuer, authority.every_issuer(session, vault)

    def _server_certificate(self, issuer: Issuer, now: datetime) -> None:
        given = self._settings.broker_server_certificate
        if given is not None and given.exists():
            key = given.with_name(f"{given.stem}-key.pem")
            self._folder.use_server(given.read_text(), key.read_text())
        else:
            self._folder.ensure_server(issuer, self._settings.broker_hosts, now)

    def _reload(self) -> None:
        """Have the broker read its files again. Raises OSError when it is not there."""
        # One that is only starting would die of the signal: it takes it once it answers.
        self._evictor.check()
        pid = _pid_of(self._settings.broker_pid_file)
        if pid is None:
            raise ProcessLookupError("the broker's process is not known: it reads its files at its next start")
        os.kill(pid, signal.SIGHUP)
        # Mosquitto only notes the signal, and reads its files at the end of that turn of its loop. A connection that is
        # made and answered from here on takes more turns than one: once it is answered, the files were read.
        self._evictor.check()
        self._folder.note_told()
        _LOG.info("broker reads its credentials again")

    def _cut(self, uncut: Sequence[Uncut]) -> None:
        """End live sessions. A device whose credential was replaced is disturbed once, and comes back."""
        gone = self._evictor.evict({each.username: not each.succeeded for each in uncut})
        done = [each.id for each in uncut if each.username in gone]
        with session_scope(self._engine) as session:
            session.execute(
                update(DeviceCredential)
                .where(DeviceCredential.id.in_(done), DeviceCredential.cut_at.is_(None))
                .values(cut_at=self._clock())
                .execution_options(synchronize_session=False)
            )
        _LOG.info("sessions of revoked credentials ended", credentials=len(done))

    def _put_off(self, error: BaseException, backoff: Backoff) -> None:
        _LOG.warning("broker not told", error=str(error)[:300])
        self._close()
        self._ending.wait(backoff.next_s())

    # --- the connection that listens, and holds the lock while it lives ---

    def _leads(self) -> bool:
        listener = self._listen()
        if self._leading:
            return True
        with listener.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
            self._leading = bool(cursor.fetchone()[0])
        return self._leading

    def _wait(self) -> None:
        listener = self._listen()
        if not listener.notifies:
            readable, _, _ = select.select([listener, self._wake_r], [], [], POLL_S)
            if listener in readable:
                listener.poll()
        listener.notifies.clear()

    def _listen(self) -> Any:
        if self._listener is None:
            self._listener = listen(self._engine, Channel.CREDENTIAL)
        return self._listener

    def _close(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(psycopg2.Error):
                self._listener.close()
            self._listener, self._leading = None, False


def _pid_of(path: Path | None) -> int | None:
    """The broker's process; None when the file is not there, or names somebody else by now."""
    if path is None:
        return None
    try:
        pid = int(path.read_text())
        return pid if psutil.Process(pid).name() == _PROGRAM else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
