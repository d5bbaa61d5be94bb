"""Pictures of the current estimate while a run goes on, for a small share of its time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from guided_dip.errors import RunError

if TYPE_CHECKING:
    from guided_dip.jobs.going import Run

SHARE = 0.05  # of a run's time that its previews may take
SIDE = 1024  # pixels, at most
SOONER = 4  # times, the first one


class Previews:
    """Shows now and then what the estimate of a run is, in the draft of its folder.

    Parameters
    ----------
    run
        What is computed; its job says how often.
    """

    def __init__(self, run: Run) -> None:
        from guided_dip.images import upright
        from guided_dip.images.display import ends_of

        assert run.job.preview_every is not None, "or there were none"
        self._run, self._every = run, run.job.preview_every
        # By the same mapping as the picture itself.
        self._ends = ends_of(upright(run.picture).pixels)
        self._began = time.monotonic()
        self._next = self._began + self._every / SOONER
        self._is_foretold = False

    def look(self) -> None:
        """Show the estimate, if it is time: in a call of the restoration's `on_step`."""
        now = time.monotonic()
        if now < self._next or self._run.writer is None:
            return
        if not self._is_foretold:
            self._is_foretold = True
            needed = self._run.restoration.preview_seconds()
            self._next = self._began + needed / SHARE
            if time.monotonic() < self._next:
                return
        self._show()
        taken = time.monotonic() - now
        self._next = now + max(self._every, taken / SHARE)

    def _show(self) -> None:
        from guided_dip.images import parted
        from guided_dip.images.display import shown

        run = self._run
        pixels = run.restoration.preview()
        if pixels is None or run.writer is None:
            return
        pages = run.restoration.config.pages
        picture = parted(run.restored(pixels), pages)[pages // 2]
        # A run that cannot be shown goes on: what cannot be written is told by its checkpoints.
        with suppress(RunError):
            run.writer.preview(shown(picture.pixels, self._ends, SIDE))
            run.watcher.previewed()
