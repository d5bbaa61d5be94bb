"""The run of a job: shown as it goes, checkpointed now and then, and left well when it is cut."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided_dip.jobs.preview import Previews
from guided_dip.jobs.stop import noted_signals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guided_dip.images import Picture
    from guided_dip.jobs.job import Job
    from guided_dip.jobs.watcher import Watcher
    from guided_dip.restoration import Checkpoint, Known, Restoration
    from guided_dip.result import Record, Result
    from guided_dip.runs import Begun, RunWriter

FOLDERS = 99  # tried beside an output for what is left of an interrupted run


class _CutError(Exception):
    def __init__(self, record: Record, signal: int) -> None:
        self.record, self.signal = record, signal


@dataclass
class Run:
    """A job's run.

    Attributes
    ----------
    job, restoration, picture, begun, known
        What is to be done.
    watcher
        Who sees how it goes.
    writer
        Fills the run folder, if there is one.
    """

    job: Job
    restoration: Restoration
    picture: Picture
    begun: Begun
    known: Known
    watcher: Watcher
    writer: RunWriter | None = None

    def restored(self, pixels: NDArray[Any]) -> Picture:
        """Return the picture with restored pixels, which may be those of its region only."""
        if self.job.region is not None:
            pixels = self.job.region.put_back(self.picture.pixels, pixels)
        return with_pixels(self.picture, pixels)

    def carry_out(self, checkpoint: Checkpoint | None) -> Result:
        """Run to the end, or leave what is needed to go on.

        Parameters
        ----------
        checkpoint
            Where to go on; None to begin.

        Raises
        ------
        InterruptionError
            If a signal asked for the end.
        """
        try:
            return self._run(checkpoint)
        except _CutError as cut:
            raise self._leave(cut) from None

    def _run(self, checkpoint: Checkpoint | None) -> Result:
        self._look_across()
        plan, last = self.restoration.plan, time.monotonic()
        previews = Previews(self) if self.job.preview_every is not None else None
        with self.watcher.progress(plan) as update, noted_signals() as stop:

            def on_step(record: Record) -> None:
                nonlocal last
                update(record)
                if self.writer is not None:
                    self.writer.record(record)
                    if time.monotonic() - last >= self.job.checkpoint_every:
                        self.writer.checkpoint(self.restoration.checkpoint())
                        last = time.monotonic()
                if previews is not None:
                    previews.look()
                if self.watcher.enough():
                    self.restoration.end_here()
                if stop.signal is not None:
                    raise _CutError(record, stop.signal)

            result = self.restoration.run(on_step, resume=checkpoint)
        self.watcher.late = stop.signal
        return result

    def _look_across(self) -> None:
        """Look at what goes on across wide holes, if there are any."""
        from guided_dip.errors import InterruptionError

        coarse = self.restoration.coarse
        if coarse is None:
            return
        self.watcher.remark("some holes are wide: first, what goes on across them")
        with self.watcher.progress(coarse.fit.plan) as update, noted_signals() as stop:

            def on_step(record: Record) -> None:
                update(record)
                if stop.signal is not None:
                    raise InterruptionError(
                        "interrupted before its first step, so nothing is kept", stop.signal
                    )

            self.restoration.look_across(on_step)

    def _leave(self, cut: _CutError) -> Exception:
        """Write the checkpoint and the current estimate, and say how to go on."""
        from guided_dip.errors import InterruptionError

        if self.writer is None:
            return self._leave_beside(cut)
        folder = self.writer.draft.parent
        self.writer.checkpoint(self.restoration.checkpoint())
        estimate = self.restored(self.restoration.estimate())
        place = self.writer.estimate(estimate)
        done, steps = cut.record.step + 1, self.restoration.plan.steps
        return InterruptionError(
            f"interrupted at step {done} of {steps}; the estimate so far is {place}; to go on: "
            f"{self.job.going_on(folder)}",
            cut.signal,
        )

    def _leave_beside(self, cut: _CutError) -> Exception:
        """Do so in a new folder beside the output, as there is no run folder."""
        from guided_dip.runs import new_run

        assert self.job.output is not None, "a job without a run folder has an output"
        folder = _free(self.job.output)
        with new_run(folder, begun=self.begun, known=self.known) as self.writer:
            raise self._leave(cut)


def _free(output: Path) -> Path:
    """Return a folder beside an output that is not there yet."""
    names = [f"{output.stem}.run", *(f"{output.stem}.run-{n}" for n in range(2, FOLDERS + 1))]
    places = (output.with_name(name) for name in names)
    return next((place for place in places if not place.exists()), output.with_name(names[0]))


def with_pixels(picture: Picture, pixels: NDArray[Any]) -> Picture:
    """Return a picture with other pixels, of the same size or larger, and all else it has; upright.

    Where the size is another, alpha and resolution grow with it, and a FITS header, whose
    coordinates are of pixels, is left out.
    """
    from guided_dip.images import upright

    alpha, resolution, header = picture.alpha, picture.resolution, picture.fits_header
    scale = len(pixels) / len(picture.pixels)
    if scale != 1:
        header = None
        if alpha is not None:
            alpha = larger(alpha, pixels.shape[:2])
        if resolution is not None:
            x, y = resolution.x * scale, resolution.y * scale
            resolution = dataclasses.replace(resolution, x=x, y=y)
    if alpha is not None:
        alpha = alpha.astype(pixels.dtype, copy=False)  # 64-bit floats come back as 32-bit ones
    return upright(
        dataclasses.replace(
            picture, pixels=pixels, alpha=alpha, resolution=resolution, fits_header=header
        )
    )


def larger(alpha: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Interpolate an alpha channel to a height and width, in its own type."""
    import numpy as np
    from PIL import Image

    from guided_dip.images import from_float, to_float

    floats = Image.fromarray(to_float(alpha))
    resized = np.asarray(floats.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    return from_float(resized.clip(0, 1), alpha.dtype)
