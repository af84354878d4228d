"""What survives a restart of the simulator: one SQLite file per process.

A cabinet's flash is written before it speaks of what it wrote. Here the same holds against a killed process: the
driver commits every changed cabinet, then publishes. Against a power cut of this machine it does not: the write-ahead
log is not forced to the disk at each commit (`synchronous = NORMAL`), so the last moments may be lost, never the file.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import msgspec

from simulators.base import AnyCabinet, CabinetSnapshot
from simulators.battery import PowerBank
from simulators.errors import StateUnusable
from simulators.hands import Hands

FILE_NAME: Final = "simulators.db"
_LAYOUT: Final = 1


class StateFile:
    """Used by one process at a time. Raises StateUnusable when it is in use, foreign, or of another seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._encode = msgspec.json.Encoder().encode
        try:
            self._db = sqlite3.connect(folder / FILE_NAME, timeout=0.5, isolation_level=None)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._prepare(seed)
        except sqlite3.Error as error:
            raise StateUnusable(f"{folder / FILE_NAME}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cabinets(self) -> dict[str, CabinetSnapshot]:
        """By station code."""
        rows = self._db.execute("SELECT code, snapshot FROM cabinet").fetchall()
        decode = msgspec.json.Decoder(CabinetSnapshot).decode
        return {code: decode(snapshot) for code, snapshot in rows}

    def restore_hands(self, hands: Hands) -> None:
        decode = msgspec.json.Decoder(PowerBank).decode
        for (snapshot,) in self._db.execute("SELECT snapshot FROM hand").fetchall():
            hands.take(decode(snapshot))
        hands.changed.clear()

    def write(self, cabinets: Iterable[AnyCabinet], hands: Hands) -> None:
        """Everything given and what changed in riders' hands, in one transaction."""
        kept = [(cabinet.code, self._encode(cabinet.snapshot())) for cabinet in cabinets]
        out = [(serial, self._encode(bank)) for serial in hands.changed if (bank := hands.get(serial)) is not None]
        back = [(serial,) for serial in hands.changed if serial not in hands]
        hands.changed.clear()
        self._db.execute("BEGIN")
        self._db.executemany("INSERT OR REPLACE INTO cabinet (code, snapshot) VALUES (?, ?)", kept)
        self._db.executemany("INSERT OR REPLACE INTO hand (serial, snapshot) VALUES (?, ?)", out)
        self._db.executemany("DELETE FROM hand WHERE serial = ?", back)
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()

    def _prepare(self, seed: int) -> None:
        self._db.execute("CREATE TABLE IF NOT EXISTS meta (layout INTEGER NOT NULL, seed INTEGER NOT NULL)")
        self._db.execute("CREATE TABLE IF NOT EXISTS cabinet (code TEXT PRIMARY KEY, snapshot BLOB NOT NULL)")
        self._db.execute("CREATE TABLE IF NOT EXISTS hand (serial TEXT PRIMARY KEY, snapshot BLOB NOT NULL)")
        row = self._db.execute("SELECT layout, seed FROM meta").fetchone()
        if row is None:
            self._db.execute("INSERT INTO meta (layout, seed) VALUES (?, ?)", (_LAYOUT, seed))
        elif row != (_LAYOUT, seed):
            raise StateUnusable(
                f"kept by layout {row[0]} and seed {row[1]}, asked for layout {_LAYOUT} and seed {seed}"
            )
