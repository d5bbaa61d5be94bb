"""One restoration from file to file: what goes in, and what comes out where."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guided_dip.region import Region

if TYPE_CHECKING:
    from guided_dip.white import Extremes


@dataclass(frozen=True)
class Job:
    """What goes in, what comes out, and how much is said about it.

    Attributes
    ----------
    image
        The picture to restore.
    output
        Where the restoration goes; None if a run folder is enough.
    clean
        The clean picture, to score with.
    run_dir
        The run folder.
    resume
        The folder of a run that was cut, to go on with.
    page, clean_page
        Pages of the picture's file and of the clean one's.
    region
        The only part of the picture that is to be restored; None for all of it.
    mask, kernel, gain
        Pictures of what is missing, of the blur and of what each pixel was multiplied by.
    invert_mask
        The mask is black where pixels are missing.
    max_pixels
        Most pixels that a picture may have; None for the usual limit.
    checkpoint_every
        Seconds between checkpoints.
    time_budget
        Seconds that the run may take.
    overwrite
        Replace what exists.
    device
        The GPU on which a run goes on that was begun on another one; None for that one.
    figures
        Draw the run folder's figures.
    preview_every
        Seconds, at least, between pictures of the current estimate in the run folder's draft; None:
        there are none.
    extremes
        Between which values all of the file lies, by which white is found; None if that has not
        been looked at.
    """

    image: Path
    output: Path | None
    clean: Path | None
    run_dir: Path | None
    resume: Path | None = None
    page: int | None = None
    clean_page: int | None = None
    region: Region | None = None
    mask: Path | None = None
    invert_mask: bool = False
    kernel: Path | None = None
    gain: Path | None = None
    max_pixels: int | None = None
    checkpoint_every: float = 60.0
    time_budget: float | None = None
    overwrite: bool = False
    device: str | None = None
    figures: bool = True
    preview_every: float | None = None
    extremes: Extremes | None = None

    @property
    def most_pixels(self) -> int:
        """Most pixels that a picture may have."""
        from guided_dip.images import DEFAULT_MAX_PIXELS

        return DEFAULT_MAX_PIXELS if self.max_pixels is None else self.max_pixels

    def going_on(self, folder: Path) -> str:
        """Return the command that goes on with what a folder holds."""
        words = ["guided-dip", "restore", str(self.image), "--resume", str(folder)]
        for option, path in (("-o", self.output), ("--clean", self.clean)):
            words += [] if path is None else [option, str(path)]
        words += [] if self.max_pixels is None else ["--max-pixels", str(self.max_pixels)]
        words += ["--overwrite"] if self.overwrite and self.output is not None else []
        return shlex.join(words)


def check_paths(job: Job) -> None:
    """Refuse places where the results cannot go.

    Parameters
    ----------
    job
        What is to be done.

    Raises
    ------
    InputError
        If one of them is missing, in use, or the input itself.
    """
    from guided_dip.errors import InputError
    from guided_dip.images import same_file
    from guided_dip.runs import check_folder

    if job.output is None and job.run_dir is None:
        raise InputError("there is no place for the result: give -o OUT, --run-dir DIR or both")
    for output in filter(None, (job.output, job.run_dir)):
        for name, other in (("input", job.image), ("clean picture", job.clean)):
            if other is not None and same_file(output, other):
                raise InputError(f"{output}: is the {name}; try another name for the result")
    if job.run_dir is None:
        return
    if job.output is not None and same_file(job.output, job.run_dir):
        raise InputError(f"{job.output}: is to be both result and run folder; try two names")
    if job.resume is None:
        check_folder(job.run_dir, overwrite=job.overwrite)
