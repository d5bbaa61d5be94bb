"""The log of each picture: how its restoration goes, and what the library remarks of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from guided_dip.batch.work import Event, Item, Reached, Tell
from guided_dip.jobs.watcher import Watcher

if TYPE_CHECKING:
    from guided_dip.guidance import Plan
    from guided_dip.jobs.going import Run
    from guided_dip.result import Record

EVERY = 1.0  # seconds between what is said about steps
LOOK_EVERY = 0.1  # seconds between two looks whether it is enough
LOGGED_EVERY = 30.0  # seconds between what is logged about them

Admit = Callable[[int], None]  # waits until there is room for so many bytes


class Log:
    """A job's log; where it cannot be written, the job goes on without it.

    Parameters
    ----------
    file
        Open for writing; None if it could not be opened.
    """

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    def __call__(self, text: str) -> None:
        """Log a line."""
        if self._file is not None:
            with suppress(OSError):
                self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
                self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class _ToLogs(logging.Handler):
    """Has what the library remarks logged."""

    def __init__(self, logs: Sequence[Log]) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        for log in self._logs:
            log(record.getMessage())


@contextmanager
def opened_logs(items: Sequence[Item]) -> Iterator[list[Log]]:
    """Open the logs of pictures, and have what the library remarks meanwhile go there.

    Parameters
    ----------
    items
        The pictures.

    Yields
    ------
    list of Log
        One for each, in their order.
    """
    logs = [Log(_opened(item.log)) for item in items]
    handler, library = _ToLogs(logs), logging.getLogger("guided_dip")
    library.addHandler(handler)
    try:
        yield logs
    finally:
        library.removeHandler(handler)
        for log in logs:
            log.close()


def _opened(path: Path) -> IO[str] | None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", errors="backslashreplace")
    return None


class LoggedWatcher(Watcher):
    """Logs how a job goes, and tells it.

    Parameters
    ----------
    item
        The picture.
    log
        Its log.
    tell
        Called with what is said of it.
    admit
        Waits until there is room for the memory that a run needs.
    pages
        That are restored one after another.
    every
        Seconds between what is told about steps; None for a usual time.
    """

    def __init__(
        self,
        item: Item,
        log: Log,
        tell: Tell,
        admit: Admit,
        pages: int = 1,
        every: float | None = None,
    ) -> None:
        self.log = log
        self._item, self._tell, self._admit, self._pages = item, tell, admit, pages
        self._every = EVERY if every is None else every
        self._page = self._previews = 0
        self._plan: Plan | None = None
        self._next = self._next_logged = self._next_look = 0.0
        self._enough = False

    def begins(self, run: Run) -> None:
        """Log what is computed, once there is room for it, and tell where it begins."""
        from guided_dip.jobs.announcement import announcement

        self.log(announcement(run))
        self._admit(run.restoration.memory_needed)
        if self._pages > 1:  # what goes on does not begin with the first one
            self._page = run.job.page or 0
        self._plan = run.restoration.plan
        self._tell(Event("begun", self._item.name, share=self._share(0.0)))

    def remark(self, text: str) -> None:
        """Log what should be known."""
        self.log(text)

    def previewed(self) -> None:
        """Count a preview: who hears of the next step knows that there is one."""
        self._previews += 1

    def enough(self) -> bool:
        """Tell whether somebody has put the file there that asks for the estimate as it is."""
        now = time.monotonic()
        if self._item.enough is not None and not self._enough and now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            self._enough = self._item.enough.exists()
        return self._enough

    def progress(self, plan: Plan) -> AbstractContextManager[Callable[[Record], None]]:
        """Tell of steps now and then, and log fewer of them."""

        def update(record: Record) -> None:
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + self._every
            # Without this step: what is told first is where an earlier attempt had got to.
            share = plan.work_done(record.step) / plan.work_done(plan.steps)
            at = self._reached(record, plan) if plan is self._plan else None
            self._tell(Event("step", self._item.name, share=self._share(share), at=at))
            if now >= self._next_logged:
                self._next_logged = now + LOGGED_EVERY
                self.log(f"step {record.step + 1}/{plan.steps}, loss {record.loss:.3g}")

        return nullcontext(update)

    def _reached(self, record: Record, plan: Plan) -> Reached:
        return Reached(
            step=record.step + 1,
            steps=plan.steps,
            stage=record.stage + 1,
            stages=len(plan),
            loss=record.loss,
            seconds=record.seconds,
            psnr=record.psnr,
            previews=self._previews,
        )

    def _share(self, of_page: float) -> float:
        """Return the share of all pages' work."""
        return min(1.0, (self._page + of_page) / self._pages)
