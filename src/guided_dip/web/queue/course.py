"""What becomes of a job while it is carried out: heard in the batch's loop, told to users."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from guided_dip.batch.entries import Entry
from guided_dip.batch.work import Event, Item
from guided_dip.errors import InputError
from guided_dip.web.limits import Limits
from guided_dip.web.models import Progress
from guided_dip.web.queue.asking import orders_of
from guided_dip.web.queue.book import Book, Live
from guided_dip.web.queue.data import Data
from guided_dip.web.queue.store import Store
from guided_dip.web.queue.views import Views

OVER = 60.0  # seconds, over what a job may take, until it is ended
PACED = 1.0  # seconds after which there is a pace


@dataclass
class Course:
    """Follows jobs.

    Attributes
    ----------
    data, book, store, limits
        Of the server.
    workers
        Jobs that are computed at a time.
    figures
        Draw those of each run's folder.
    """

    data: Data
    book: Book
    store: Store
    limits: Limits
    workers: int
    figures: bool = True

    def completed(self, item: Item) -> Item:
        """Add to a picture what its job says.

        Raises
        ------
        InputError
            If the job is not known, or cannot be carried out.
        """
        live = self._live(item.name)
        if live is None:
            raise InputError("its job is not known any more")
        record, folder = live.record, self.data.job(live.id)
        roles = {role: folder.path / file.file for role, file in record.files.items()}
        views = Views(record.settings.page, roles.get("clean"), roles.get("mask"))
        orders = orders_of(
            record.settings,
            roles,
            self.limits,
            threads=record.threads,
            pages=record.pages,
            hooks=views,
        )
        orders = replace(orders, figures=self.figures)
        return replace(item, orders=orders, enough=folder.enough)

    def heard(self, event: Event, entry: Entry | None) -> None:
        """Take in what is said of a picture.

        Parameters
        ----------
        event
            What is.
        entry
            What the manifest says after it, where that decides.
        """
        live = self._live(event.name)
        if live is None:
            return
        if event.kind == "gone" or live.asked == "remove":
            self._gone(live, event)
        elif live.has_ended or live.asked == "cancel":
            return
        elif event.kind == "given":
            self._given(live)
        elif event.kind == "begun":
            live.computing, live.first = time.monotonic(), event.share
        elif event.kind == "step":
            live.progress = self._progress(live, event)
            self.book.tell(live)
        elif event.kind == "done":
            self.store.finish(live)
        elif event.kind == "failed":
            self.store.end(live, "failed", self.store.told(live, event.text))
        elif entry is not None and entry.state == "failed":
            self.store.end(live, "failed", self.store.told(live, entry.reason))
        else:
            live.computing = live.first = None
            self.book.change(live, "queued" if live.asked is None else "stopping")

    def again(self) -> None:
        """Take it that no job is computed: all that have not ended are queued."""
        for live in self.book.active():
            if live.status != "queued" and live.asked is None:
                live.computing = live.first = None
                self.book.change(live, "queued")

    def _live(self, name: str) -> Live | None:
        return self.book.find(PurePosixPath(name).parent.name)

    def _given(self, live: Live) -> None:
        began = live.record.began or time.time()
        status = "stopping" if self.data.job(live.id).enough.exists() else "running"
        live.asked = "stop" if status == "stopping" else None
        self.book.change(live, "stopping" if live.asked else "running", began=began)

    def _gone(self, live: Live, event: Event) -> None:
        """See off a job that was cancelled or removed."""
        if event.kind != "gone":
            return
        if live.asked == "remove":
            self.store.remove(live)
        elif not live.has_ended:
            self.store.end(live, "cancelled", "")

    def _progress(self, live: Live, event: Event) -> Progress:
        at = event.at
        left = self._seconds_left(live, event.share)
        if at is None:
            changes = {"share": event.share, "seconds_left": left}
            return live.progress.model_copy(update=changes)
        return Progress(
            share=event.share,
            step=at.step,
            steps=at.steps,
            stage=at.stage,
            stages=at.stages,
            loss=at.loss if math.isfinite(at.loss) else None,
            psnr=at.psnr if at.psnr is not None and math.isfinite(at.psnr) else None,
            seconds=at.seconds,
            seconds_left=left,
            preview=at.previews,
        )

    def _seconds_left(self, live: Live, share: float) -> float | None:
        if live.computing is None or live.first is None:
            return None
        spent, done = time.monotonic() - live.computing, share - live.first
        return spent / done * (1 - share) if done > 0 and spent > PACED else None

    def overdue(self) -> list[tuple[Live, str]]:
        """Return the jobs that have taken far too long, and what to say of each."""
        most = self.limits.seconds + OVER
        found = []
        for live in self.book.active():
            if live.status == "queued" or live.record.began is None or live.asked == "cancel":
                continue
            if live.computing is None:  # it may wait for memory that others take
                taken, allowed = time.time() - live.record.began, most * (self.workers + 1)
            else:
                taken, allowed = time.monotonic() - live.computing, most
            if taken > allowed or live.progress.seconds > most:
                text = f"took longer than the {self.limits.seconds:g} s that a job may take here"
                found.append((live, f"{text}: try a smaller picture, or --effort fast"))
        return found
