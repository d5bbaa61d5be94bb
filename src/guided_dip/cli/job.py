"""One restoration from file to file: check, say what will be done, do it, say what came of it."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided_dip.cli.console import duration, give, notes, tell
from guided_dip.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from guided_dip.config import Config
    from guided_dip.images import Picture
    from guided_dip.restore import Restoration
    from guided_dip.result import Record, Result
    from guided_dip.runs import Summary


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
    overwrite
        Replace what exists.
    quiet
        Say nothing but errors.
    as_json
        Print the result as JSON.
    """

    image: Path
    output: Path | None
    clean: Path | None
    run_dir: Path | None
    overwrite: bool
    quiet: bool
    as_json: bool


def carry_out(job: Job, config: Config) -> None:
    """Restore a file; whatever can be checked is checked before anything is computed.

    Raises
    ------
    InputError
        If a file or a setting is not usable.
    RunError
        If the run fails, or its result cannot be written.
    """
    with notes(quiet=job.quiet):
        _check_paths(job)
        picture, clean = _read(job, config)
        from guided_dip.restore import prepare  # loads torch

        restoration = prepare(picture.pixels, config, clean=None if clean is None else clean.pixels)
        estimated = config.noise == "auto"
        if not job.quiet:
            tell(_announcement(job, restoration, picture, noise_estimated=estimated))
        summary = _restore(job, restoration, picture, noise_estimated=estimated)
    if job.as_json:
        give(json.dumps(_as_json(job, summary)))
    elif not job.quiet:
        give(_conclusion(job, summary))


def _check_paths(job: Job) -> None:
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
    check_folder(job.run_dir, overwrite=job.overwrite)


def _read(job: Job, config: Config) -> tuple[Picture, Picture | None]:
    """Read the pictures, and make sure that the result will have a place."""
    from guided_dip.errors import InputError
    from guided_dip.images import check_writable, read

    picture = read(job.image)
    size = _size(picture)
    if config.resize is not None:
        # Alpha is carried through untouched or not at all.
        picture = dataclasses.replace(picture.unmultiplied(), alpha=None)
        size = (config.resize, config.resize)
    if job.output is not None:
        check_writable(
            job.output,
            picture.pixels.dtype,
            picture.channels,
            has_alpha=picture.alpha is not None,
            overwrite=job.overwrite,
            size=size,
        )
    clean = None if job.clean is None else read(job.clean)
    if clean is not None and clean.pixels.shape != picture.pixels.shape:
        raise InputError(
            f"{job.clean}: is {_described(clean)}, but {job.image} is {_described(picture)}; "
            "try the clean picture of this one"
        )
    return picture, clean


def _size(picture: Picture) -> tuple[int, int]:
    height, width = picture.pixels.shape[:2]
    return width, height


def _described(picture: Picture) -> str:
    width, height = _size(picture)
    return f"{width}x{height} {'gray' if picture.channels == 1 else 'RGB'}"


def _announcement(
    job: Job, restoration: Restoration, picture: Picture, *, noise_estimated: bool
) -> str:
    config = restoration.config
    what = [f"{_described(picture)} {picture.pixels.dtype}"]
    if picture.alpha is not None:
        what.append("alpha kept as it is")
    if config.resize is not None:
        what.append(f"resized to {config.resize}x{config.resize}, without alpha")
    if restoration.noise is not None:
        what.append(f"noise {restoration.noise}{' (estimated)' * noise_estimated}")
    steps = restoration.plan.steps
    how = [config.supervision, config.backbone, f"{steps} steps on {config.device}"]
    if steps:
        how.append(f"about {duration(steps * restoration.seconds_per_step())}")
    return f"{job.image}: {', '.join(what)}; {', '.join(how)}"


def _restore(
    job: Job, restoration: Restoration, picture: Picture, *, noise_estimated: bool
) -> Summary:
    """Run, and write everything: the run folder first, as it has the restoration too."""
    from guided_dip.images import write
    from guided_dip.runs import Source, new_run, summarize

    source = Source.of(job.image)
    with ExitStack() as stack:
        run = None
        if job.run_dir is not None:
            run = stack.enter_context(new_run(job.run_dir, overwrite=job.overwrite))
        result = _run(restoration, quiet=job.quiet, also=None if run is None else run.record)
        summary = summarize(restoration, result, source, noise_estimated=noise_estimated)
        restored = _with_pixels(picture, result.image)
        if run is not None:
            run.save(restoration, result, summary, restored)
    if job.output is not None:
        write(job.output, restored, overwrite=job.overwrite)
    if job.run_dir is not None:
        from guided_dip.plots import redraw

        redraw(job.run_dir)
    return summary


def _run(restoration: Restoration, *, quiet: bool, also: Callable[[Record], None] | None) -> Result:
    with progress(restoration.plan, quiet=quiet) as update:

        def on_step(record: Record) -> None:
            update(record)
            if also is not None:
                also(record)

        return restoration.run(on_step)


def _with_pixels(picture: Picture, pixels: NDArray[Any]) -> Picture:
    alpha = picture.alpha
    if alpha is not None:
        alpha = alpha.astype(pixels.dtype, copy=False)  # 64-bit floats come back as 32-bit ones
    return dataclasses.replace(picture, pixels=pixels, alpha=alpha)


def _as_json(job: Job, summary: Summary) -> dict[str, Any]:
    from guided_dip.runs import plain

    places = {
        "output": None if job.output is None else str(job.output),
        "run_dir": None if job.run_dir is None else str(job.run_dir),
    }
    return {**places, **plain(summary.model_dump())}


def _conclusion(job: Job, summary: Summary) -> str:
    places = " and ".join(str(place) for place in (job.output, job.run_dir) if place is not None)
    parts = [f"{places}: done in {duration(summary.seconds)}"]
    if summary.stopped_at is not None:
        parts.append(f"the output of step {summary.stopped_at} was chosen")
    before, after = summary.scores_before, summary.scores
    if before is not None and after is not None:
        parts.append(
            f"PSNR {before.psnr:.2f} -> {after.psnr:.2f} dB, SSIM {before.ssim:.3f} -> "
            f"{after.ssim:.3f}"
        )
    if summary.oracle:
        parts.append("oracle: it saw the clean image, so this is an experiment, not a restoration")
    if summary.note:
        parts.append(summary.note)
    return "; ".join(parts)
