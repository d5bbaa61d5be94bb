"""Which of the pictures that were found are to be restored, and which need not be."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from guided_dip.batch.database import Database
from guided_dip.batch.entries import Entry, Found, Stamp, State
from guided_dip.batch.rows import (
    INSERT,
    UPDATE,
    restored,
    stamp_of,
    stamp_values,
    stored,
    values_of,
)
from guided_dip.words import one_line

CHUNK = 500  # names a query: SQLite before 3.32 takes no more than 999 question marks

Verdict = Literal["new", "changed", "kept", "waiting", "failed_before", "clashes"]


@dataclass(frozen=True)
class Enrolled:
    """How many of the pictures that were found are what.

    Attributes
    ----------
    new
        Never seen before.
    changed
        To be restored anew: other content or settings, or the restoration is not what it was.
    kept
        Done, and nothing has changed.
    waiting
        To be restored already, or being restored.
    failed_before
        Failed, and nothing has changed: left alone until it is told to try again.
    clashes
        Would be written where another picture is: failed.
    """

    new: int = 0
    changed: int = 0
    kept: int = 0
    waiting: int = 0
    failed_before: int = 0
    clashes: int = 0


@dataclass(frozen=True)
class Comparison:
    """How it is found out whether a picture that is done has to be restored anew.

    Attributes
    ----------
    content_of
        SHA-256 of a source's file.
    output_stamp_of
        Stamp of an output's file; None if there is none.
    overwrite
        All have to be.
    compare_contents
        Read all the sources, not only those with another stamp.
    """

    content_of: Callable[[str], str]
    output_stamp_of: Callable[[str], Stamp | None]
    overwrite: bool = False
    compare_contents: bool = False


class Known(NamedTuple):
    """What a row says of a picture that is found again."""

    id: int
    output: str
    stamp: Stamp | None
    settings: int
    state: State
    content: str | None
    written: Stamp | None
    clashes: int | None
    ours: bool


class Holder(NamedTuple):
    """The one picture that is written to an output."""

    id: int
    name: str


def judge(known: Known, found: Found, settings: int, comparison: Comparison) -> Verdict:
    """Say what is to become of a picture that the manifest has, and that holds its output.

    Parameters
    ----------
    known
        What the manifest says of it.
    found
        What is found now.
    settings
        Number of the settings.
    comparison
        Where to look, and how closely.
    """
    if known.state in ("queued", "running"):
        return "waiting"
    same = known.settings == settings and known.output == found.output
    if comparison.overwrite or known.clashes is not None or not same:
        return "changed"
    if known.state == "failed":
        return "failed_before" if known.stamp == found.stamp else "changed"
    try:
        return "kept" if _unchanged(known, found, comparison) else "changed"
    except OSError:  # the job will say what is wrong with it
        return "changed"


def _unchanged(known: Known, found: Found, comparison: Comparison) -> bool:
    if found.stamp is None or comparison.output_stamp_of(found.output) != known.written:
        return False
    if found.stamp == known.stamp and not comparison.compare_contents:
        return True
    return comparison.content_of(found.name) == known.content


def clash(output: str, first: str) -> str:
    """Return why a picture fails whose output another one has.

    Parameters
    ----------
    output
        Where both would be written.
    first
        The name of the other.
    """
    text = f"would be written to {output}, as {first} is; try renaming one, or another OUTDIR"
    return one_line(text)


def holders_of(database: Database, outputs: Iterable[str]) -> dict[str, Holder]:
    """Return which pictures are written to these outputs.

    Parameters
    ----------
    database
        The manifest's.
    outputs
        At most `CHUNK` of them.
    """
    values = [stored(output) for output in outputs]
    marks = ", ".join("?" * len(values))
    where = f"output IN ({marks}) AND clashes IS NULL"
    rows = database.rows(f"SELECT output, id, name FROM pictures WHERE {where}", values)
    return {restored(output): Holder(id, restored(name)) for output, id, name in rows}


def next_id(database: Database) -> int:
    """Return the number of the next picture.

    Parameters
    ----------
    database
        The manifest's.
    """
    return int(database.rows("SELECT coalesce(max(id), 0) + 1 FROM pictures")[0][0])


class Enrolment:
    """One call's search for what there is to do.

    Parameters
    ----------
    database
        The manifest's.
    digest, settings
        The settings all pictures are to be restored with, and their number.
    comparison
        How it is found out what is done.
    """

    def __init__(
        self, database: Database, digest: str, settings: int, comparison: Comparison
    ) -> None:
        self._database = database
        self._digest = digest
        self._settings = settings
        self._comparison = comparison
        self._counted: Counter[str] = Counter()
        self._clashing = array("q")  # ids: there may be half a million
        self._freed = False

    def take(self, chunk: Iterable[Found]) -> None:
        """Enrol some pictures, in a transaction.

        Parameters
        ----------
        chunk
            At most `CHUNK` of them.
        """
        named = {found.name: found for found in chunk}
        known = self._known(named)
        holders = holders_of(self._database, {found.output for found in named.values()})
        new, again, stamps, number = [], [], [], next_id(self._database)
        for name, found in named.items():
            row = known.get(name)
            if row is None:
                holder = _held_by_another(holders, found, number)
                self._count("clashes" if holder else "new", number)
                new.append(self._values(found, number, holder))
                number += 1
                continue
            if row.state == "running":
                self._count("waiting", row.id)
                continue
            holder = _held_by_another(holders, found, row.id)
            self._leave(holders, found, row)
            verdict = "clashes" if holder else judge(row, found, self._settings, self._comparison)
            self._count(verdict, row.id)
            if self._differs(row, found, holder, verdict):
                again.append(self._values(found, row.id, holder, row))
            elif verdict == "kept" and row.stamp != found.stamp:
                stamps.append((*stamp_values(found.stamp), row.id))
        # In this order: a new picture may have got the output that a known one has left.
        self._database.run_each("UPDATE pictures SET size = ?, changed = ? WHERE id = ?", stamps)
        self._database.run_each(UPDATE, again)
        self._database.run_each(INSERT, new)

    def settle(self) -> Enrolled:
        """Let go on what failed for an output that its holder has left since, and count."""
        if self._freed:
            gone_on = free_outputs(self._database)
            again = len(gone_on & set(self._clashing))
            self._counted["clashes"] -= again
            self._counted["changed"] += again
        return Enrolled(**self._counted)

    def _known(self, named: Iterable[str]) -> dict[str, Known]:
        values = [stored(name) for name in named]
        columns = (
            "name, id, output, size, changed, settings, state, content, written_size, "
            "written_changed, clashes, ours"
        )
        where = f"name IN ({', '.join('?' * len(values))})"
        known = {}
        for row in self._database.rows(f"SELECT {columns} FROM pictures WHERE {where}", values):
            name, id, output, size, changed, settings, state, content, *rest = row
            written_size, written_changed, clashes, ours = rest
            known[restored(name)] = Known(
                *(id, restored(output), stamp_of(size, changed), settings, state, content),
                *(stamp_of(written_size, written_changed), clashes, bool(ours)),
            )
        return known

    def _leave(self, holders: dict[str, Holder], found: Found, row: Known) -> None:
        # With other settings it may be written elsewhere than before.
        if row.clashes is None and row.output != found.output:
            self._freed = True
            if row.output in holders and holders[row.output].id == row.id:
                del holders[row.output]

    def _count(self, verdict: Verdict, id: int) -> None:
        self._counted[verdict] += 1
        if verdict == "clashes":
            self._clashing.append(id)

    def _differs(self, row: Known, found: Found, holder: Holder | None, verdict: Verdict) -> bool:
        # Whether the row has to be written; most of a million are not.
        if verdict in ("kept", "failed_before"):
            return False
        before = (row.output, row.stamp, row.settings, row.clashes)
        clashes = None if holder is None else holder.id
        return verdict == "changed" or before != (
            *(found.output, found.stamp, self._settings, clashes),
        )

    def _values(
        self, found: Found, id: int, holder: Holder | None, row: Known | None = None
    ) -> tuple[object, ...]:
        ours = row is not None and row.ours and row.output == found.output
        entry = Entry(id, found.name, found.output, found.stamp, self._digest, "queued", ours=ours)
        return fresh_values(entry, self._settings, holder)


def _held_by_another(holders: dict[str, Holder], found: Found, id: int) -> Holder | None:
    # If none has the output, this one does from now on.
    holder = holders.setdefault(found.output, Holder(id, found.name))
    return None if holder.id == id else holder


def fresh_values(entry: Entry, settings: int, holder: Holder | None) -> tuple[object, ...]:
    """Return the row of a queued picture, which fails at once if another holds its output.

    Parameters
    ----------
    entry
        The picture, queued.
    settings
        Number of its settings.
    holder
        Who else holds its output, if anybody.
    """
    if holder is None:
        return values_of(entry, settings)
    failed = Entry(
        *(entry.id, entry.name, entry.output, entry.stamp, entry.settings, "failed"),
        reason=clash(entry.output, holder.name),
        ours=entry.ours,
    )
    return values_of(failed, settings, holder.id)


def free_outputs(database: Database) -> set[int]:
    """Queue the pictures whose output is held by none any more; return their ids.

    Parameters
    ----------
    database
        The manifest's, in a transaction.
    """
    rows = database.rows(
        "SELECT id, output FROM pictures WHERE clashes IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM pictures AS other WHERE other.id = pictures.clashes"
        " AND other.clashes IS NULL AND other.output = pictures.output) ORDER BY id"
    )
    gone_on = set()
    for id, output in rows:
        holder = holders_of(database, [restored(output)]).get(restored(output))
        state, reason, other = "queued", "", None
        if holder is None:
            gone_on.add(id)
        else:
            state, reason, other = "failed", clash(restored(output), holder.name), holder.id
        change = "UPDATE pictures SET state = ?, reason = ?, clashes = ? WHERE id = ?"
        database.run(change, (state, reason, other, id))
    return gone_on
