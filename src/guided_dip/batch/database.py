"""An SQLite file that one process writes and others read, whatever happens to any of them.

It keeps a rollback journal, as a write-ahead log can be read neither on a network file system nor
in a folder that may not be written. Reads end before they return, so that no reader keeps the
writer from committing for long; changed pages stay in memory until then, so that no open
transaction keeps readers out.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from guided_dip.errors import InputError, RunError
from guided_dip.files import check_place
from guided_dip.words import one_line

TRY = 1.0  # seconds that SQLite waits for a lock: signals are heard only in between
PATIENCE = {"create": 600.0, "write": 600.0, "read": 60.0}  # seconds of trying, in all
CACHE = 32 * 1024  # KiB of pages that a writer keeps in memory

Mode = Literal["create", "write", "read"]

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


class Database:
    """A connection to the file, whose errors are those of the project.

    Parameters
    ----------
    path
        The file. The process must not open it in any other way as well: closing that would drop
        SQLite's locks, as POSIX has it.
    mode
        What is done to the file; only ``create`` makes one if there is none.

    Raises
    ------
    InputError
        If there is no file, or it may not be read or written.
    """

    def __init__(self, path: Path, mode: Mode) -> None:
        self.path = path
        self.mode = mode
        self._depth = 0
        flag = {"create": "rwc", "write": "rw", "read": "ro"}[mode]
        if mode == "create":
            check_place(path, overwrite=True)
        elif not path.is_file():
            raise self.wrong(InputError, "there is no manifest of a batch; try beginning one")
        may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)
        if mode == "read" and may_write:
            # Also a reader must undo what a killed writer left half-written.
            flag = "rw"
        elif mode != "read" and path.exists() and not may_write:
            raise self.wrong(InputError, "it or its folder is read-only; try another OUTDIR")
        with self._told(writing=False):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={flag}", uri=True, timeout=TRY
            )
            self._connection.isolation_level = None  # transactions begin where we say so
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        if self.mode == "read":
            self.run("PRAGMA query_only = ON")
            return
        for pragma in (
            "journal_mode = DELETE",
            "synchronous = FULL",
            "cache_spill = OFF",
            f"cache_size = -{CACHE}",
        ):
            self.run(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Close it; what was not committed is undone."""
        self._connection.close()

    def wrong(self, kind: type[InputError] | type[RunError], text: str) -> InputError | RunError:
        """Return an error whose one line names the file.

        Parameters
        ----------
        kind
            Of error.
        text
            What is wrong, and what to try.
        """
        return kind(one_line(f"{self.path}: {text}"))

    def damaged(self, reason: object) -> InputError | RunError:
        """Return the error of a file that is not as we wrote it.

        Parameters
        ----------
        reason
            What was found in it.
        """
        text = f"is damaged, or no manifest ({reason}); try a copy of it, or a new OUTDIR"
        return self.wrong(InputError, text)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query: one that is read bit by bit would keep the writer waiting.

        Parameters
        ----------
        sql
            One statement.
        values
            For its question marks.
        """
        with self._told(writing=self._depth > 0):
            return self._execute(sql, values).fetchall()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out a statement; return how many rows it changed.

        Parameters
        ----------
        sql
            One statement.
        values
            For its question marks.
        """
        with self._told(writing=self._depth > 0):
            return self._execute(sql, values).rowcount

    def run_each(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement again and again.

        Parameters
        ----------
        sql
            One statement, in a transaction.
        values
            For its question marks, each time.
        """
        with self._told(writing=True):
            self._check_open()
            self._connection.executemany(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of the block, or none if it fails; one may be within another."""
        if self.mode == "read":
            raise self.wrong(RunError, "was opened for reading and is not written")
        outermost, name = self._depth == 0, f"step_{self._depth}"
        self._depth += 1
        try:
            with self._told(writing=True):
                if not outermost:
                    self._check_open()
                self._execute("BEGIN IMMEDIATE" if outermost else f"SAVEPOINT {name}", begin=True)
            yield
            self.run("COMMIT" if outermost else f"RELEASE {name}")
        except BaseException:
            # A full disk may have made SQLite undo it all already.
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK" if outermost else f"ROLLBACK TO {name}")
            raise
        finally:
            self._depth -= 1

    def _execute(
        self, sql: str, values: Sequence[Any] = (), *, begin: bool = False
    ) -> sqlite3.Cursor:
        if not begin:
            self._check_open()
        end = time.monotonic() + PATIENCE[self.mode]
        while True:
            try:
                return self._connection.execute(sql, values)
            except sqlite3.OperationalError as error:
                if _code(error) not in _BUSY or time.monotonic() > end:
                    raise

    def _check_open(self) -> None:
        # Else what follows a change that failed would be made without what came before it.
        if self._depth and not self._connection.in_transaction:
            raise self.wrong(RunError, "an earlier change failed and has undone this one")

    @contextmanager
    def _told(self, *, writing: bool) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:  # ours
            raise
        except UnicodeDecodeError as error:  # of SQLite's message, which quotes what it found
            raise self.damaged("it holds no text where it should") from error
        except sqlite3.DatabaseError as error:
            raise self._translated(error, writing=writing) from error

    def _translated(self, error: sqlite3.DatabaseError, *, writing: bool) -> InputError | RunError:
        code = _code(error)
        if code in _BUSY:
            return self.wrong(RunError, f"is held by another program ({error}); try ending that")
        if code in _DAMAGED:
            return self.damaged(error)
        if writing:
            text = f"cannot be written ({error}); what is done is kept: try making room, then again"
            return self.wrong(RunError, text)
        if code == sqlite3.SQLITE_READONLY:
            text = f"was cut while it was written ({error}); try again as one who may write it"
            return self.wrong(InputError, text)
        return self.wrong(InputError, f"cannot be read ({error}); try another user, or a copy")


def _code(error: sqlite3.Error) -> int:
    # Python's own errors, of text that is no UTF-8, have none.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
