"""What a run is going to do, in a line for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guided_dip.images import Picture
    from guided_dip.jobs.going import Run

MOSTLY = 0.75  # missing by a mask: from here on it is asked whether that is meant


def announcement(run: Run) -> str:
    """Say in a line what a run is going to do.

    Parameters
    ----------
    run
        All checked and ready.
    """
    job, restoration, picture, begun = run.job, run.restoration, run.picture, run.begun
    config = restoration.config
    pictured = described(picture)
    if config.pages > 1:
        width, height = size_of(picture)
        size = f"{width}x{height // config.pages} {colours_of(picture)}"
        pictured = f"{config.pages} pages of {size}"
    what = [f"{pictured} {picture.pixels.dtype}"]
    if picture.alpha is not None:
        what.append("alpha kept as it is")
    if config.resize is not None:
        what.append(f"resized to {config.resize}x{config.resize}, without alpha")
    what += _of_the_task(run)
    if restoration.noise is not None and restoration.task.noise is None:
        noise = f"noise {restoration.noise}" if restoration.noise.even_sigma else "no noise"
        what.append(f"{noise}{' (estimated)' * begun.noise_estimated}")
        if restoration.span.grain is not None:
            what.append(f"correlated ({restoration.span.grain.correlation:.2f} between neighbours)")
    if restoration.note:
        what.append(restoration.note)
    how = [config.supervision, config.backbone]
    how.append(f"{restoration.plan.steps} steps on {config.device}")
    if job.resume is not None:
        how.append(f"going on with {job.resume}")
    page = "" if job.page is None else f", page {job.page}"
    page += "" if job.region is None else f", region {job.region}"
    return f"{job.image}{page}: {', '.join(what)}; {', '.join(how)}"


def _of_the_task(run: Run) -> list[str]:
    """Say what was done to the picture besides noise."""
    restoration, known = run.restoration, run.known
    config, said = restoration.config, []
    if restoration.missing is not None:
        share = float(restoration.missing.mean())
        turned = known.mask is not None and share > MOSTLY
        hint = " (is the mask the wrong way round? --invert-mask)" if turned else ""
        said.append(f"{share:.2%} of its pixels missing{hint}")
    if config.task == "super-resolve":
        height, width = restoration.unrestored.shape[:2]
        said.append(f"to become {width}x{height}")
    elif config.task == "deblur":
        side = "" if known.kernel is None else f"{known.kernel.shape[1]}x{known.kernel.shape[0]}"
        said.append(f"blurred by {config.kernel or f'a kernel of {side} pixels'}")
    elif known.tables is not None:
        said.append(f"JPEG of quality {known.tables.quality}")
    elif known.gain is not None:
        said.append(f"gain {known.gain.min():.3g} to {known.gain.max():.3g}")
    return said


def described(picture: Picture) -> str:
    """Return a picture's size and colours, such as ``512x384 RGB``."""
    width, height = size_of(picture)
    return f"{width}x{height} {colours_of(picture)}"


def size_of(picture: Picture) -> tuple[int, int]:
    """Return a picture's width and height in pixels."""
    height, width = picture.pixels.shape[:2]
    return width, height


def colours_of(picture: Picture) -> str:
    """Return ``gray`` or ``RGB``."""
    return "gray" if picture.channels == 1 else "RGB"
