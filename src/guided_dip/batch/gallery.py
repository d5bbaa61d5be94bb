"""A gallery of a batch: pages with before and after of every picture, and how long they took.

The pages are made beside the old ones and take their places at the end, so that a gallery is never
half of one. Pictures are looked at a page at a time, whatever their number.
"""

from __future__ import annotations

import heapq
import os
import re
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from guided_dip.batch.entries import Counts, Done, Entry, State
from guided_dip.batch.find import stamp_of
from guided_dip.batch.gallery_html import (
    INDEX,
    PICTURES,
    Card,
    failed_page,
    first_page,
    later_page,
    page_name,
)
from guided_dip.batch.gallery_summary import FAILED, LISTED, Link, Summary
from guided_dip.batch.thumbnails import Kept, Thumbnails, digest_of
from guided_dip.errors import RunError
from guided_dip.files import write_whole
from guided_dip.words import one_line

Entries = Callable[[State, int, int], list[Entry]]
Progress = Callable[[int, int], None]

PAGE = 60  # pictures
SLOWEST = 5
STAGE = ".guided-dip-gallery-"
STALE = 24 * 3600.0  # seconds, after which pages that were not finished are another's no more

_PAGES = re.compile(r"page-\d+\.html")


def write_gallery(
    folder: Path,
    *,
    root: Path,
    outdir: Path,
    counts: Counts,
    entries: Entries,
    title: str,
    about: Mapping[str, str],
    pace: float | None,
    on_progress: Progress | None = None,
) -> Path:
    """Write a gallery of a batch.

    Parameters
    ----------
    folder
        Of the gallery; what an earlier one left there gives way, its thumbnails are used again.
    root, outdir
        Where the sources and the restorations are.
    counts
        How many pictures are in which state.
    entries
        Returns pictures in a state, those with the next larger ids after one, so many at most.
    title
        Of the pages.
    about
        What else the first page is to tell: names and values.
    pace
        Pictures an hour; None if it is not known.
    on_progress
        Called with how many pictures have been looked at, and of how many.

    Returns
    -------
    Path
        The first page.

    Raises
    ------
    RunError
        If the gallery cannot be written.
    """
    files = _Files(folder, root, outdir)
    found = _survey(entries)
    with _told(folder), _stage(folder) as stage:
        kept = Kept(folder / PICTURES)
        written: list[str] = []

        def put(name: str, page: str) -> None:
            write_whole(stage / name, page)
            written.append(name)

        pages = max(1, -(-len(found.ids) // PAGE))
        summary = _summary(found, counts, pace, about)
        for number, chosen in enumerate(_in_pages(entries, found), 1):
            cards = []
            for place, (entry, done) in enumerate(chosen, 1 + PAGE * (number - 1)):
                cards.append(_card(entry, done, files, kept))
                if on_progress is not None:
                    on_progress(place, len(found.ids))
            if number == 1:
                put(INDEX, first_page(title, summary, cards, pages))
            else:
                put(page_name(number), later_page(title, cards, number, pages))
        if counts.failed:
            failed = ((entry, files.source(entry)) for entry in _all(entries, "failed"))
            put(FAILED, failed_page(title, failed))
        _take_places(stage, folder, written)
        kept.drop_unused()
    return folder / INDEX


@dataclass(frozen=True)
class _Files:
    """Where a gallery and the pictures it shows are."""

    folder: Path
    root: Path
    outdir: Path

    def source(self, entry: Entry) -> str | None:
        """Return the URL of a picture's source, None if it is not there."""
        return self._url(self.root / entry.name)

    def output(self, entry: Entry) -> str | None:
        """Return the URL of its restoration, None if it is not there."""
        return self._url(self.outdir / entry.output)

    def _url(self, path: Path) -> str | None:
        if stamp_of(path) is None:
            return None
        try:  # links are not followed, as a browser follows none when it takes .. away
            relative = os.path.relpath(path, self.folder)
        except ValueError:  # another drive
            return path.absolute().as_uri()
        return quote(os.fsencode(relative.replace(os.sep, "/")))


@dataclass(frozen=True)
class _Survey:
    """What a first look at the manifest says; the pictures it saw are those that are shown.

    A batch may go on meanwhile: what it adds is left to the next gallery.
    """

    ids: array[int]
    seconds: NDArray[np.float64]
    slowest: list[Entry]
    noted: int
    first_noted: list[Entry]


def _survey(entries: Entries) -> _Survey:
    ids, seconds = array("q"), array("d")
    slowest: list[tuple[float, int, Entry]] = []
    noted, first_noted = 0, []
    for entry in _all(entries, "done"):
        if entry.done is None:
            continue
        ids.append(entry.id)
        seconds.append(entry.done.seconds)
        keep = heapq.heappush if len(slowest) < SLOWEST else heapq.heappushpop
        keep(slowest, (entry.done.seconds, -entry.id, entry))
        if entry.done.note:
            noted += 1
            if noted <= LISTED:
                first_noted.append(entry)
    longest = [entry for _, _, entry in sorted(slowest, reverse=True)]
    return _Survey(ids, np.array(seconds, np.float64), longest, noted, first_noted)


def _all(entries: Entries, state: State) -> Iterator[Entry]:
    """Go through all pictures in a state."""
    after = 0
    while some := entries(state, after, PAGE):
        yield from some
        after = some[-1].id


def _summary(
    found: _Survey, counts: Counts, pace: float | None, about: Mapping[str, str]
) -> Summary:
    def linked(entry: Entry) -> Link:
        number = 1 + int(np.searchsorted(found.ids, entry.id)) // PAGE
        return f"{'' if number == 1 else page_name(number)}#p{entry.id}", entry

    return Summary(
        counts,
        pace,
        found.seconds,
        [linked(entry) for entry in found.slowest],
        found.noted,
        [linked(entry) for entry in found.first_noted],
        about,
    )


def _in_pages(entries: Entries, found: _Survey) -> Iterator[list[tuple[Entry, Done]]]:
    """Go through the pictures that were seen, a page at a time; there is always a first page."""
    if not found.ids:
        yield []
    for start in range(0, len(found.ids), PAGE):
        wanted = set(found.ids[start : start + PAGE])
        after, last = min(wanted) - 1, max(wanted)
        page = []
        while after < last and (some := entries("done", after, PAGE)):
            page += [(one, one.done) for one in some if one.id in wanted and one.done is not None]
            after = some[-1].id
        yield page


def _card(entry: Entry, done: Done, files: _Files, kept: Kept) -> Card:
    """Find out what there is to show of a picture; make its thumbnails if there are none."""
    remarks = []
    source, output = files.root / entry.name, files.outdir / entry.output
    before, after = stamp_of(source), stamp_of(output)
    if before is None:
        remarks.append("source is gone")
    elif entry.stamp is not None and before != entry.stamp:
        remarks.append("source has changed since it was restored")
    if after is None:
        remarks.append("restoration is gone")
    elif after != done.stamp:
        remarks.append("restoration has been changed since")
    # By the files as they are: thumbnails of others would be believed.
    digest = digest_of(entry.name, before or entry.stamp, after or done.stamp)
    shown = kept.find(digest)
    if shown is None and before is not None and after is not None:
        shown, problem = _made(kept, digest, source, output)
        if problem:
            remarks.append(problem)
    if shown is not None and shown.stretched:
        remarks.append("stretched for display")
    if shown is not None and shown.enlarged:
        remarks.append("before is enlarged to the same area")
    return Card(entry, done, shown, files.source(entry), files.output(entry), remarks)


def _made(kept: Kept, digest: str, source: Path, output: Path) -> tuple[Thumbnails | None, str]:
    """Make thumbnails, or say why there are none."""
    try:
        return kept.make(digest, source, output), ""
    except RunError:  # the disk is full: no other picture would fare better
        raise
    except Exception as error:  # one bad file never stops a gallery
        return None, f"cannot be shown: {error}"


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Say where, if the disk will not have it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        text = one_line(f"{folder}: no gallery can be written ({reason}); try another folder")
        raise RunError(text) from error


@contextmanager
def _stage(folder: Path) -> Iterator[Path]:
    """Make a folder for pages that are not finished; it goes away, and so do old ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{STAGE}*"):
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > STALE:
                shutil.rmtree(old)
    stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=folder))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _take_places(stage: Path, folder: Path, written: list[str]) -> None:
    """Put finished pages into their places, the first page last, and delete those of before."""
    for name in sorted(written, key=lambda name: name == INDEX):
        (stage / name).replace(folder / name)
    for path in folder.iterdir():
        ours = path.name == FAILED or _PAGES.fullmatch(path.name)
        if ours and path.name not in written:
            path.unlink()
