"""The SQLite files of a local bus: how they are opened and written, and what their failures mean to people."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from driftwheel.errors import BusFull, Busy, ConfigError

VERSION = 1
BUSY_S = 10.0


class Gone(Exception):
    """Another process dropped the file just now."""


def connect(file: Path, synchronous: str, *, mode: Literal["rw", "rwc"] = "rw") -> sqlite3.Connection:
    """A connection in autocommit mode. Raises `ConfigError` for a file of another version, `Gone` for one that is not there."""
    place = f"{file.absolute().as_uri()}?mode={mode}"
    with ExitStack() as opened:
        try:
            connection = sqlite3.connect(place, isolation_level=None, check_same_thread=False, timeout=BUSY_S, uri=True)
            opened.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as failed:
            if file.exists():
                raise
            raise Gone(file) from failed
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise ConfigError(f"{file}: is a log of version {found}, this release reads {VERSION}; give another data folder")
        opened.pop_all()
    return connection


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction; all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def in_words(place: Path) -> Iterator[None]:
    """Say what a failure at *place* means: `BusFull` (disk), `Busy` (another holds the lock), `ConfigError` (no log of ours)."""
    try:
        yield
    except OSError as failed:
        if failed.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BusFull(f"{place}: the disk takes no more ({failed}); free some space, what was not accepted is sent again", 5.0) from failed
    except sqlite3.Error as failed:
        match getattr(failed, "sqlite_errorcode", 0) & 0xFF:  # the low byte is the kind, the rest says where
            case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN:
                sentence = f"{place}: the disk takes no more ({failed}); free some space, what was not accepted is sent again"
                raise BusFull(sentence, 5.0) from failed
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
                sentence = f"{place}: another process holds the log for more than {BUSY_S:.0f} s; the same again later"
                raise Busy(sentence, 1.0) from failed
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_READONLY:
                raise ConfigError(f"{place}: is no log that can be used ({failed}); restore it, or give another data folder") from failed
        raise


def size_of(folder: Path) -> int:
    """Bytes of everything in *folder*; what vanishes meanwhile counts nothing."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total
