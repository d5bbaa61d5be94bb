"""Pictures of the current estimate while a run goes on, for a small share of its time."""

from __future__ import annotations

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
        from guided_dip.restoration.pacing import Pacing

        every = run.job.preview_every
        assert every is not None, "or there were none"
        self._run = run
        # By the same mapping as the picture itself.
        self._ends = ends_of(upright(run.picture).pixels)
        first = every / SOONER
        self._pacing = Pacing(run.restoration, every=every, share=SHARE, first=first)

    def look(self) -> None:
        """Show the estimate, if it is time: in a call of the restoration's `on_step`."""
        if self._run.writer is not None:
            self._pacing.step(self._show)

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
