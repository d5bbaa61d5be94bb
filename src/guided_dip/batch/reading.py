"""A batch as it is read, at any time and by anybody: whole, or over all of its shards."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from guided_dip.batch.entries import Counts, Entry, State
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.place import Place

SHARD = 10**12  # more than any of a manifest's ids


class Reading:
    """The manifests of a batch, open for reading; a context manager that closes them.

    Parameters
    ----------
    place
        Of the batch; if of a shard, only that is read.

    Raises
    ------
    InputError
        If there is no batch, or it cannot be read.
    """

    def __init__(self, place: Place) -> None:
        with ExitStack() as stack:
            self._manifests = [
                stack.enter_context(Manifest.open(path, read_only=True))
                for path in place.manifests()
            ]
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def root(self) -> Path:
        """Of the sources."""
        return self._manifests[0].root

    def settings(self) -> dict[str, Any]:
        """Return the latest settings, as `Orders.content` has them; empty if there are none."""
        found = (manifest.latest_settings() for manifest in self._manifests)
        latest = next((each for each in found if each is not None), None)
        return {} if latest is None else dict(latest[1].get("content", {}))

    def counts(self) -> Counts:
        """Return how many pictures are in which state."""
        parts = [asdict(manifest.counts()) for manifest in self._manifests]
        return Counts(**{state: sum(part[state] for part in parts) for state in asdict(Counts())})

    def pace(self) -> float | None:
        """Return how many pictures end an hour, by those that ended last; None if too few did."""
        paces = [manifest.recent_pace() for manifest in self._manifests]
        return sum(pace for pace in paces if pace is not None) or None

    def entries(self, state: State | None, after: int, limit: int) -> list[Entry]:
        """Return a page of the pictures in a state.

        Parameters
        ----------
        state
            Which; None for all.
        after
            The id of the last one of the page before, 0 for the first page.
        limit
            How many, at most.
        """
        found: list[Entry] = []
        for number, manifest in enumerate(self._manifests):
            base = number * SHARD
            if len(found) < limit and after < base + SHARD:
                page = manifest.entries(state, after=max(0, after - base), limit=limit - len(found))
                found += [replace(entry, id=base + entry.id) for entry in page]
        return found
