"""The manifest: which pictures a batch has, and what has become of each.

One process writes it, the batch's coordinator; others may read it at any time. What a call has
returned from is on the disk, and a process that is killed leaves what its last transaction left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from guided_dip.batch.database import Database, Mode
from guided_dip.batch.enrolment import (
    CHUNK,
    Comparison,
    Enrolled,
    Enrolment,
    free_outputs,
    fresh_values,
    holders_of,
    next_id,
)
from guided_dip.batch.entries import Counts, Done, Entry, Found, Stamp, State
from guided_dip.batch.rows import (
    APPLICATION,
    FORMAT,
    INSERT,
    SELECT,
    TABLES,
    UPDATE,
    done_values,
    entry_of,
    restored,
    stored,
    values_of,
)
from guided_dip.errors import InputError
from guided_dip.words import one_line

CHUNKS = 8  # a transaction, at most: some thousand pictures
SECONDS = 5.0  # a transaction, about, as what a killed call has read in one is lost
FEWEST = 3  # pictures whose ends tell a pace

__all__ = ["Enrolled", "Manifest"]


class Manifest:
    """A manifest that is open; a context manager that closes it.

    It belongs to the thread and the process that opened it. All that it is asked may raise
    `InputError` if the file is damaged or cannot be read, and `RunError` if it cannot be written,
    as on a full disk; then nothing has changed, and it can be asked again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def create(cls, path: Path, root: Path) -> Manifest:
        """Begin a manifest, or open the one that is there.

        Parameters
        ----------
        path
            Its file.
        root
            Of the sources; one that is there keeps its own.

        Raises
        ------
        InputError
            If the file cannot be made, or is another program's or of another format.
        """
        manifest = cls(Database(path, "create"))
        with manifest._closed_on_failure(), manifest.transaction():
            if _is_empty(manifest._database):
                for statement in TABLES:
                    manifest._database.run(statement)
                manifest.root = root
            _check_format(manifest._database)
        return manifest

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Manifest:
        """Open the manifest that is there.

        Parameters
        ----------
        path
            Its file.
        read_only
            Nothing will be written, and another process may be writing.

        Raises
        ------
        InputError
            If there is none, it is damaged or of another format, or it may not be read (or, unless
            `read_only`, written).
        """
        mode: Mode = "read" if read_only else "write"
        manifest = cls(Database(path, mode))
        with manifest._closed_on_failure():
            _check_format(manifest._database)
        return manifest

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def path(self) -> Path:
        """Its file."""
        return self._database.path

    @property
    def root(self) -> Path:
        """The folder that the names of the pictures are in."""
        return Path(restored(self._fact("root")))

    @root.setter
    def root(self, root: Path) -> None:
        with self.transaction():
            _keep(self._database, "root", stored(str(root)))

    def keep_settings(self, digest: str, content: Mapping[str, Any]) -> None:
        """Keep settings; they are the latest ones from now on.

        Parameters
        ----------
        digest
            What they are known by.
        content
            Made of what JSON has.
        """
        kept = "INSERT INTO settings (digest, content) VALUES (?, ?)"
        text = json.dumps(dict(content))
        with self.transaction():
            change = "UPDATE settings SET content = ? WHERE digest = ?"
            if not self._database.run(change, (text, digest)):
                self._database.run(kept, (digest, text))
            _keep(self._database, "latest settings", digest)

    def settings(self, digest: str) -> dict[str, Any]:
        """Return the settings that were kept.

        Parameters
        ----------
        digest
            What they are known by.

        Raises
        ------
        LookupError
            If there are none.
        """
        rows = self._database.rows("SELECT content FROM settings WHERE digest = ?", (digest,))
        if not rows:
            raise LookupError(f"no settings {digest} were kept")
        try:
            content = json.loads(rows[0][0])
        except (TypeError, ValueError) as error:
            raise self._database.damaged("its settings are no JSON") from error
        if not isinstance(content, dict):
            raise self._database.damaged("its settings are none")
        return content

    def latest_settings(self) -> tuple[str, dict[str, Any]] | None:
        """Return digest and content of the settings that were kept last; None if there are none."""
        digest = self._fact("latest settings", "")
        return (digest, self.settings(digest)) if digest else None

    def transaction(self) -> AbstractContextManager[None]:
        """Make many changes as one, which is much faster: all of the block, or none if it fails."""
        return self._database.transaction()

    def enrol(
        self,
        found: Iterable[Found],
        settings: str,
        *,
        content_of: Callable[[str], str],
        output_stamp_of: Callable[[str], Stamp | None],
        overwrite: bool = False,
        compare_contents: bool = False,
    ) -> Enrolled:
        """Queue what was found, except what is done or has failed and has not changed since.

        A picture is done if it was with these settings, its output's file is as it was written,
        and its own has the stamp or else the content that it had. Two pictures that would be
        written to the same output clash: the later one fails, and the first one goes on.

        Parameters
        ----------
        found
            The pictures, a few of which are in memory at a time; a name may come again.
        settings
            Digest of settings that were kept.
        content_of
            Returns the SHA-256 of the file that a name means; an `OSError` is taken for a change.
        output_stamp_of
            Returns the stamp of the file that an output means; None if there is none.
        overwrite
            Queue also what is done or has failed.
        compare_contents
            Read the content of all that is done, whatever its stamp.
        """
        comparison = Comparison(content_of, output_stamp_of, overwrite, compare_contents)
        enrolment = Enrolment(self._database, settings, self._number(settings), comparison)
        pictures = iter(found)
        chunk = list(islice(pictures, CHUNK))
        while chunk:
            end = time.monotonic() + SECONDS
            with self.transaction():
                for _ in range(CHUNKS):
                    enrolment.take(chunk)
                    chunk = list(islice(pictures, CHUNK))
                    if not chunk or time.monotonic() > end:
                        break
        with self.transaction():
            return enrolment.settle()

    def claim(self, limit: int, settings: str | None = None) -> list[Entry]:
        """Return the oldest queued pictures, which are running from now on.

        Parameters
        ----------
        limit
            How many, at most.
        settings
            Digest of those that they are to have; None for any.
        """
        with self.transaction():
            if settings is None:
                entries = self.entries("queued", limit=limit)
            else:
                where = "WHERE state = 'queued' AND settings = ? ORDER BY id LIMIT ?"
                entries = self._entries(where, [self._number(settings), limit])
            change = (
                "UPDATE pictures SET state = 'running', began = ?, attempts = attempts + 1"
                " WHERE id = ?"
            )
            now = time.time()
            self._database.run_each(change, [(now, entry.id) for entry in entries])
            return [
                replace(entry, state="running", began=now, attempts=entry.attempts + 1)
                for entry in entries
            ]

    def queued(self, settings: str | None) -> int:
        """Return how many pictures are queued with certain settings.

        Parameters
        ----------
        settings
            Their digest; None for any.
        """
        if settings is None:
            return self.counts().queued
        count = "SELECT count(*) FROM pictures WHERE state = 'queued' AND settings = ?"
        return int(self._database.rows(count, (self._number(settings),))[0][0])

    def has_queued(self, settings: str | None) -> bool:
        """Tell whether any picture is queued with certain settings.

        Parameters
        ----------
        settings
            Their digest; None for any.
        """
        if settings is None:
            return self.counts().queued > 0
        find = "SELECT 1 FROM pictures WHERE state = 'queued' AND settings = ? LIMIT 1"
        return bool(self._database.rows(find, (self._number(settings),)))

    def queued_settings(self) -> list[str]:
        """Return the digests of the settings that pictures are queued with, the oldest first."""
        find = (
            "SELECT digest FROM settings WHERE EXISTS (SELECT 1 FROM pictures"
            " WHERE state = 'queued' AND pictures.settings = number) ORDER BY number"
        )
        return [digest for (digest,) in self._database.rows(find, ())]

    def finish(self, name: str, done: Done) -> None:
        """Say that a running picture is done; its output is ours from now on.

        Parameters
        ----------
        name
            The picture.
        done
            What came of it.

        Raises
        ------
        LookupError
            If it is not running.
        """
        columns = (
            "content = ?, written_size = ?, written_changed = ?, seconds = ?, width = ?,"
            " height = ?, channels = ?, pages = ?, noise = ?, note = ?, ours = 1"
        )
        self._end(name, f"state = 'done', {columns}", done_values(done))

    def fail(self, name: str, reason: str) -> None:
        """Say that a running picture has failed.

        Parameters
        ----------
        name
            The picture.
        reason
            Why, and what to try.

        Raises
        ------
        LookupError
            If it is not running.
        """
        self._end(name, "state = 'failed', reason = ?", (one_line(reason),))

    def requeue(self, names: Iterable[str], *, counted: bool) -> None:
        """Queue again those of the pictures that are running.

        Parameters
        ----------
        names
            The pictures.
        counted
            The attempt counts, as it ended by itself; one that was asked to stop does not.
        """
        change = (
            "UPDATE pictures SET state = 'queued', attempts = max(0, attempts - ?)"
            " WHERE name = ? AND state = 'running'"
        )
        with self.transaction():
            values = [(0 if counted else 1, stored(name)) for name in names]
            self._database.run_each(change, values)

    def withdraw(self, names: Iterable[str]) -> None:
        """Forget pictures, whatever their state; those that clashed with them go on.

        Parameters
        ----------
        names
            The pictures; those that are not here are of no account.
        """
        with self.transaction():
            remove = "DELETE FROM pictures WHERE name = ?"
            self._database.run_each(remove, [(stored(name),) for name in names])
            free_outputs(self._database)

    def requeue_running(self) -> int:
        """Queue what a coordinator has left running, as if not begun; return how many."""
        change = (
            "UPDATE pictures SET state = 'queued', attempts = max(0, attempts - 1)"
            " WHERE state = 'running'"
        )
        with self.transaction():
            return self._database.run(change)

    def retry_failed(self) -> int:
        """Queue what has failed, except for clashes, as if never begun; return how many."""
        total, after = 0, 0
        pick = (
            "SELECT id FROM pictures WHERE state = 'failed' AND clashes IS NULL AND id > ?"
            " ORDER BY id LIMIT ?"
        )
        change = "UPDATE pictures SET state = 'queued', reason = '', attempts = 0, ended = NULL"
        while ids := self._database.rows(pick, (after, CHUNK * CHUNKS)):
            with self.transaction():
                self._database.run_each(f"{change} WHERE id = ?", ids)
            total, after = total + len(ids), ids[-1][0]
        return total

    def counts(self) -> Counts:
        """Return how many pictures are in which state."""
        return Counts(**dict(self._database.rows("SELECT state, number FROM counts")))

    def entries(
        self, state: State | None = None, *, after: int = 0, limit: int = 100
    ) -> list[Entry]:
        """Return a page of the pictures, by their ids.

        Parameters
        ----------
        state
            Only those in it; None for all.
        after
            The id of the last picture of the page before.
        limit
            How many, at most.
        """
        only = "" if state is None else "AND state = ? "
        values = [after, *([] if state is None else [state]), limit]
        return self._entries(f"WHERE id > ? {only}ORDER BY id LIMIT ?", values)

    def entry(self, name: str) -> Entry | None:
        """Return a picture; None if it is not in the manifest.

        Parameters
        ----------
        name
            Its name.
        """
        return next(iter(self._entries("WHERE name = ?", [stored(name)])), None)

    def mark_ours(self, names: Iterable[str]) -> None:
        """Say that this batch writes the outputs of pictures, and may replace them later.

        Parameters
        ----------
        names
            The pictures.
        """
        with self.transaction():
            change = "UPDATE pictures SET ours = 1 WHERE name = ?"
            self._database.run_each(change, [(stored(name),) for name in names])

    def recent_pace(self, last: int = 100) -> float | None:
        """Return how many pictures end an hour; None if too few have ended yet.

        Parameters
        ----------
        last
            How many of those that ended last are looked at. Time in which none of them was
            running, as between two calls, is left out.
        """
        spans = self._database.rows(
            "SELECT began, ended FROM pictures WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT ?",
            (last,),
        )
        if len(spans) < FEWEST:
            return None
        reached, busy = spans[-1][1], 0.0  # that end begins the time, and is none within it
        for began, ended in sorted(spans):
            busy += max(0.0, ended - max(began, reached))
            reached = max(reached, ended)
        return (len(spans) - 1) * 3600 / busy if busy > 0 else None

    def absorb(self, other: Path) -> int:
        """Take over what another manifest of the same root says; return of how many pictures.

        Of a picture that both have, the more finished state stays, or the later one of two that
        have ended. What runs elsewhere is queued here, what runs here stays as it is, and what
        would be written where another picture is fails.

        Parameters
        ----------
        other
            Its file.

        Raises
        ------
        InputError
            If it cannot be read or has another root.
        """
        total, after = 0, 0
        with Manifest.open(other, read_only=True) as theirs:
            if theirs.root != self.root:
                text = f"has its pictures in {theirs.root}, not in {self.root}; try one of the same"
                raise theirs._database.wrong(InputError, text)
            while page := theirs.entries(after=after, limit=CHUNK):
                with self.transaction():
                    for digest in {entry.settings for entry in page}:
                        self._adopt_settings(digest, theirs)
                    total += self._absorb_page(page)
                after = page[-1].id
        with self.transaction():
            free_outputs(self._database)
        return total

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _absorb_page(self, page: list[Entry]) -> int:
        marks = ", ".join("?" * len(page))
        names = [stored(entry.name) for entry in page]
        mine = {one.name: one for one in self._entries(f"WHERE name IN ({marks})", names)}
        taken = 0
        for entry in page:
            known = mine.get(entry.name)
            if known and (known.state == "running" or _finished(entry) <= _finished(known)):
                continue
            id = known.id if known else next_id(self._database)
            holder = holders_of(self._database, [entry.output]).get(entry.output)
            if holder is not None and holder.id == id:
                holder = None
            if known and holder:
                continue
            settings = self._number(entry.settings)
            if holder or not _finished(entry)[0]:
                stamp, ours = entry.stamp, entry.ours
                fresh = Entry(
                    *(id, entry.name, entry.output, stamp, entry.settings, "queued"),
                    ours=ours,
                )
                values = fresh_values(fresh, settings, holder)
            else:
                values = values_of(replace(entry, id=id), settings)
            self._database.run(UPDATE if known else INSERT, values)
            taken += 1
        return taken

    def _adopt_settings(self, digest: str, theirs: Manifest) -> None:
        if not self._database.rows("SELECT 1 FROM settings WHERE digest = ?", (digest,)):
            latest = self._fact("latest settings", digest)
            self.keep_settings(digest, theirs.settings(digest))
            _keep(self._database, "latest settings", latest)

    def _end(self, name: str, columns: str, values: Sequence[Any]) -> None:
        change = f"UPDATE pictures SET ended = ?, {columns} WHERE name = ? AND state = 'running'"
        with self.transaction():
            if not self._database.run(change, (time.time(), *values, stored(name))):
                raise LookupError(f"{name!r} is not running")

    def _entries(self, rest: str, values: Sequence[Any]) -> list[Entry]:
        rows = self._database.rows(f"{SELECT} {rest}", values)
        try:
            return [entry_of(row) for row in rows]
        except (AttributeError, TypeError, ValueError) as error:
            raise self._database.damaged("a row is no picture's") from error

    def _number(self, digest: str) -> int:
        rows = self._database.rows("SELECT number FROM settings WHERE digest = ?", (digest,))
        if not rows:
            raise LookupError(f"no settings {digest} were kept")
        return int(rows[0][0])

    def _fact(self, key: str, default: Any = None) -> Any:
        rows = self._database.rows("SELECT value FROM facts WHERE key = ?", (key,))
        if rows or default is not None:
            return rows[0][0] if rows else default
        raise self._database.damaged(f"it has no {key}")


def _finished(entry: Entry) -> tuple[int, float]:
    # A picture that failed without being begun clashed with another, there; it may not here.
    if entry.began is None or entry.ended is None:
        return 0, 0.0
    return 2 if entry.state == "done" else 1, entry.ended


def _keep(database: Database, key: str, value: str | bytes) -> None:
    database.run("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))


def _is_empty(database: Database) -> bool:
    return not database.rows("SELECT 1 FROM sqlite_master LIMIT 1")


def _check_format(database: Database) -> None:
    if _is_empty(database):
        text = "is empty: its batch was cut as it began; try beginning it again"
        raise database.wrong(InputError, text)
    if database.rows("PRAGMA application_id") != [(APPLICATION,)]:
        text = "is another program's database, no manifest; try another OUTDIR"
        raise database.wrong(InputError, text)
    version = database.rows("PRAGMA user_version")[0][0]
    if version != FORMAT:
        text = f"has format {version}, and this program reads {FORMAT}; try the version of it"
        raise database.wrong(InputError, f"{text} that began the batch, or another OUTDIR")
