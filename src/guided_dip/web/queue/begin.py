"""The beginning of a job: its files are put in a folder of its own, and it is written down."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from guided_dip.errors import RunError
from guided_dip.web.jobs import NewJob, QueueFullError
from guided_dip.web.limits import Limits
from guided_dip.web.queue.book import Book, Live
from guided_dip.web.queue.commands import command_of, python_of
from guided_dip.web.queue.data import PRIVATE, Data, JobFolder, new_id
from guided_dip.web.queue.records import Record, digest_of, named_files
from guided_dip.web.queue.store import Store

RETRY_AFTER = 30  # seconds
FULL_FOR = 120  # seconds that a full disk is likely to be


class Beginning:
    """Begins jobs, as many as there may be.

    Parameters
    ----------
    data, book, store
        Where they go.
    limits
        How many there may be.
    threads
        With which each is computed.
    """

    def __init__(self, data: Data, book: Book, store: Store, limits: Limits, threads: int) -> None:
        self._data, self._book, self._store = data, book, store
        self._limits, self._threads = limits, threads
        self._lock = threading.Lock()
        self._beginning: Counter[str] = Counter()

    def begin(self, new: NewJob, owner: str) -> Live:
        """Write a job down.

        Parameters
        ----------
        new
            What has been checked.
        owner
            Whose it is.

        Raises
        ------
        QueueFullError
            If there are too many, or the disk is full.
        """
        with self._counted(owner):
            self._store.make_room(sum(each.path.stat().st_size for each in new.files.values()))
            record = self._record(new, owner)
            folder = self._data.job(record.id)
            try:
                self._write(new, record, folder)
            except (OSError, RunError):
                shutil.rmtree(folder.path, ignore_errors=True)
                text = "the job cannot be written, as the server's disk is full: try again later"
                raise QueueFullError(text, FULL_FOR) from None
            live = Live(record, size=folder.size())
            self._book.add(live)
        return live

    @contextmanager
    def _counted(self, owner: str) -> Iterator[None]:
        """Take one of the places that there are."""
        with self._lock:
            mine = len(self._book.active(owner)) + self._beginning[owner]
            total = len(self._book.active()) + self._beginning.total()
            if total >= self._limits.waiting:
                text = f"{total} jobs wait or are computed already: try again later"
                raise QueueFullError(text, RETRY_AFTER)
            if mine >= self._limits.waiting_each:
                text = f"{mine} of your jobs have not ended: try again when one has"
                raise QueueFullError(text, RETRY_AFTER)
            self._beginning[owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._beginning[owner] -= 1

    def _record(self, new: NewJob, owner: str) -> Record:
        image, files = new.files["image"], named_files(new)
        name = PurePosixPath(files["image"].name)
        output = f"{name.stem}-restored{name.suffix}"
        if output in {file.name for file in files.values()}:
            output = f"{name.stem}-restored-anew{name.suffix}"
        record = Record(
            id=new_id(),
            owner=digest_of(owner),
            name=image.name[:200],
            file_name=output,
            created=time.time(),
            settings=new.settings,
            files=files,
            width=image.width,
            height=image.height,
            channels=image.channels,
            pages=image.pages,
            bits=image.bits,
            threads=self._threads,
        )
        record.command, record.python = command_of(record), python_of(record)
        return record

    def _write(self, new: NewJob, record: Record, folder: JobFolder) -> None:
        folder.path.mkdir(mode=PRIVATE)
        folder.owner.write_text(record.owner, encoding="ascii")
        for role, file in record.files.items():
            shutil.move(new.files[role].path, folder.path / file.file)
        record.write(folder)  # from here on there is a job
