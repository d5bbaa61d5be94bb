"""The manifest's tables, and how an entry becomes a row and a row an entry."""

from __future__ import annotations

from typing import Any

from guided_dip.batch.entries import Done, Entry, Stamp
from guided_dip.words import one_line

APPLICATION = int.from_bytes(b"GDIP", "big")  # SQLite's header has a place for it
FORMAT = 1
LARGEST = 2**63  # no whole number in SQLite is as large

COLUMNS = (
    *("name", "output", "size", "changed", "settings", "state", "reason", "attempts"),
    *("began", "ended", "content", "written_size", "written_changed", "seconds"),
    *("width", "height", "channels", "pages", "noise", "note", "ours", "clashes"),
)
_DIGEST = "(SELECT digest FROM settings WHERE number = pictures.settings)"
SELECT = f"SELECT id, {', '.join(COLUMNS).replace('settings', _DIGEST, 1)} FROM pictures"
INSERT = f"INSERT INTO pictures ({', '.join(COLUMNS)}, id) VALUES (?{', ?' * len(COLUMNS)})"
UPDATE = f"UPDATE pictures SET {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE id = ?"

# Who holds an output is unique, so that no two pictures are ever written to one place: the others
# have in `clashes` the id of the one that holds it. `changed` has no type, see `large`.
TABLES = (
    "CREATE TABLE facts (key TEXT PRIMARY KEY, value)",
    "CREATE TABLE settings (number INTEGER PRIMARY KEY, digest TEXT UNIQUE NOT NULL,"
    " content TEXT NOT NULL)",
    "CREATE TABLE counts (state TEXT PRIMARY KEY, number INTEGER NOT NULL)",
    "INSERT INTO counts VALUES ('queued', 0), ('running', 0), ('done', 0), ('failed', 0)",
    "CREATE TABLE pictures (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL,"
    " output TEXT NOT NULL, size INTEGER, changed, settings INTEGER NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),"
    " reason TEXT NOT NULL, attempts INTEGER NOT NULL, began REAL, ended REAL, content TEXT,"
    " written_size INTEGER, written_changed, seconds REAL, width INTEGER, height INTEGER,"
    " channels INTEGER, pages INTEGER, noise TEXT, note TEXT, ours INTEGER NOT NULL,"
    " clashes INTEGER, CHECK ((state = 'done') = (content IS NOT NULL)))",
    "CREATE UNIQUE INDEX holders ON pictures (output) WHERE clashes IS NULL",
    "CREATE INDEX clashing ON pictures (clashes) WHERE clashes IS NOT NULL",
    "CREATE INDEX states ON pictures (state)",  # and by id within each, as all indexes are
    "CREATE INDEX queue ON pictures (settings) WHERE state = 'queued'",
    "CREATE INDEX ends ON pictures (ended) WHERE ended IS NOT NULL",
    "CREATE TRIGGER came AFTER INSERT ON pictures BEGIN"
    " UPDATE counts SET number = number + 1 WHERE state = new.state; END",
    "CREATE TRIGGER went AFTER DELETE ON pictures BEGIN"
    " UPDATE counts SET number = number - 1 WHERE state = old.state; END",
    "CREATE TRIGGER moved AFTER UPDATE OF state ON pictures WHEN old.state <> new.state BEGIN"
    " UPDATE counts SET number = number - 1 WHERE state = old.state;"
    " UPDATE counts SET number = number + 1 WHERE state = new.state; END",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


def stored(name: str) -> str | bytes:
    """Return a name as a row has it: text, or bytes if it is not Unicode, as file names may be.

    Parameters
    ----------
    name
        Any text, also with the lone surrogates that stand for undecodable bytes.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode(errors="surrogatepass")
    return name


def restored(value: str | bytes) -> str:
    """Return the name that was stored.

    Parameters
    ----------
    value
        As `stored` returned it.
    """
    return value if isinstance(value, str) else value.decode(errors="surrogatepass")


def large(number: int) -> int | str:
    """Return a whole number as a row has it: the nanoseconds of the year 2300 are too many.

    Parameters
    ----------
    number
        Of any size.
    """
    return number if -LARGEST <= number < LARGEST else str(number)


def stamp_values(stamp: Stamp | None) -> tuple[int | None, int | str | None]:
    """Return the two columns of a stamp.

    Parameters
    ----------
    stamp
        None if there is no file.
    """
    return (None, None) if stamp is None else (stamp.size, large(stamp.changed))


def stamp_of(size: int | None, changed: int | str | None) -> Stamp | None:
    """Return the stamp that two columns hold.

    Parameters
    ----------
    size, changed
        As `stamp_values` returned them.
    """
    return None if size is None or changed is None else Stamp(size, int(changed))


def done_values(done: Done | None) -> tuple[Any, ...]:
    """Return the columns from ``content`` to ``note``.

    Parameters
    ----------
    done
        None if it is not done.
    """
    if done is None:
        return (None,) * 10
    told = (one_line(done.noise), one_line(done.note))
    shape = (done.width, done.height, done.channels, done.pages)
    return (done.content, *stamp_values(done.stamp), done.seconds, *shape, *told)


def values_of(entry: Entry, settings: int, clashes: int | None = None) -> tuple[Any, ...]:
    """Return what `INSERT` and `UPDATE` take.

    Parameters
    ----------
    entry
        What the row is to hold.
    settings
        Number of its settings.
    clashes
        The picture that holds its output, if that is another.
    """
    return (
        stored(entry.name),
        stored(entry.output),
        *stamp_values(entry.stamp),
        settings,
        entry.state,
        one_line(entry.reason),
        entry.attempts,
        entry.began,
        entry.ended,
        *done_values(entry.done),
        entry.ours,
        clashes,
        entry.id,
    )


def entry_of(row: tuple[Any, ...]) -> Entry:
    """Return the entry that a row of `SELECT` holds.

    Parameters
    ----------
    row
        All its columns.
    """
    id, name, output, size, changed, settings, state, reason, attempts, began, ended = row[:11]
    content, written_size, written_changed, *rest = row[11:21]
    written = stamp_of(written_size, written_changed)
    done = None if content is None or written is None else Done(content, written, *rest)
    stamp = stamp_of(size, changed)
    return Entry(
        *(id, restored(name), restored(output), stamp, settings, state, reason, attempts),
        *(began, ended, done, bool(row[21])),
    )
