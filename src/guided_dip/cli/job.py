"""One restoration from file to file: check, say what will be done, do it, say what came of it."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided_dip.cli.console import duration, give, notes, tell
from guided_dip.cli.interruption import Run
from guided_dip.region import Region, parse_region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guided_dip.config import Config
    from guided_dip.images import Picture
    from guided_dip.restoration import Checkpoint, Known, Restoration
    from guided_dip.runs import Begun, Summary


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
    quiet
        Say nothing but errors.
    as_json
        Print the result as JSON.
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
    quiet: bool = False
    as_json: bool = False

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
        return shlex.join(words)


def carry_out(job: Job, config: Config | None) -> None:
    """Restore a file; whatever can be checked is checked before anything is computed.

    Parameters
    ----------
    job
        What to do.
    config
        Settings; None if the run that is resumed has them.

    Raises
    ------
    InputError
        If a file or a setting is not usable.
    RunError
        If the run fails, or its result cannot be written.
    InterruptionError
        If a signal asked it to end; its state is kept.
    """
    with notes(quiet=job.quiet):
        summary = carried_out(job, config)
    if job.as_json:
        give(json.dumps(_as_json(job, summary)))
    elif not job.quiet:
        give(_conclusion(job, summary))
        for warning in () if summary.residual is None else summary.residual.warnings:
            tell(f"note: {warning}")


def carried_out(job: Job, config: Config | None) -> Summary:
    """Restore a file, and return what came of it; raises as `carry_out`.

    Parameters
    ----------
    job, config
        As for `carry_out`.
    """
    begun = None
    if job.resume is not None:
        begun = _begun(job, job.resume)
        region = None if begun.region is None else parse_region(begun.region)
        job = dataclasses.replace(job, run_dir=job.resume, page=begun.page, region=region)
        config = begun.config
    assert config is not None, "either there are settings, or the run that goes on has them"
    check_paths(job)
    picture, clean = _read(job, config)
    known = _known(job, config, picture)
    from guided_dip.restoration import prepare  # loads torch

    pixels = picture.pixels if job.region is None else job.region.of(picture.pixels)
    restoration = prepare(pixels, config, known, clean=clean, time_budget=job.time_budget)
    checkpoint = _checkpoint(job, restoration)
    begun = begun or _begin(job, restoration, noise_estimated=config.noise == "auto")
    run = Run(job, restoration, picture, begun, known)
    if not job.quiet:
        tell(_announcement(run))
    return _restore(run, checkpoint)


def _known(job: Job, config: Config, picture: Picture) -> Known:
    """Read what is known besides the picture; a run that goes on has it in its folder."""
    from guided_dip.cli.beside import in_region, on_each_page, read_known
    from guided_dip.runs import kept_known
    from guided_dip.runs.layout import DRAFT, PICTURES

    paths: dict[str, Path | None] = {"mask": job.mask, "kernel": job.kernel, "gain": job.gain}
    if job.resume is not None:
        paths = kept_known(job.resume / DRAFT / PICTURES)
    inverted = job.invert_mask and job.resume is None
    most = job.most_pixels
    known = read_known(job.image, config, **paths, invert_mask=inverted, max_pixels=most)
    if job.resume is not None:
        return known
    if config.pages > 1:
        return on_each_page(known, config.pages, picture)
    return known if job.region is None else in_region(known, job.region, picture)


def _begin(job: Job, restoration: Restoration, *, noise_estimated: bool) -> Begun:
    from guided_dip.runs import Begun, Source, versions

    return Begun(
        source=Source.of(job.image),
        page=job.page,
        region=None if job.region is None else str(job.region),
        clean=None if job.clean is None else Source.of(job.clean),
        config=restoration.config,
        noise_estimated=noise_estimated,
        versions=versions(),
    )


def _begun(job: Job, folder: Path) -> Begun:
    """Read what the run that is to go on was begun with, and make sure it is the same."""
    from guided_dip.errors import InputError
    from guided_dip.images import read
    from guided_dip.runs import Source, load_begun

    begun = load_begun(folder)
    for path in filter(None, (job.image, job.clean)):
        if not path.is_file():
            read(path)  # says what is wrong with it
            raise InputError(f"{path}: is no regular file")
    clean = None if job.clean is None else Source.of(job.clean)
    begun.check(folder, Source.of(job.image), clean)
    return begun


def _checkpoint(job: Job, restoration: Restoration) -> Checkpoint | None:
    """Read where the run that is to go on had got to."""
    if job.resume is None:
        return None
    from guided_dip.runs import load_checkpoint

    return load_checkpoint(job.resume, restoration.config.device)


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


def _read(job: Job, config: Config) -> tuple[Picture, NDArray[Any] | None]:
    """Read the pictures, and make sure that the result will have a place.

    What JPEG did it did to pixels as they are in the file, so these are put upright in the end.
    """
    from guided_dip.errors import InputError
    from guided_dip.images import check_stack_writable, check_writable, turned_back, upright

    most = job.most_pixels
    picture = _opened(
        job.image,
        job.page,
        most,
        config.pages,
        nan_as_missing=config.nan_as_missing,
        turned=config.task != "dejpeg",
    )
    if config.resize is not None:
        # Alpha is carried through untouched or not at all.
        picture = dataclasses.replace(picture.unmultiplied(), alpha=None)
    if job.region is not None:
        job.region.check(picture.pixels)
        if config.pages > 1:
            raise InputError("--region: is for pages that are restored one by one; omit --joint")
        if config.resize is not None or config.task in ("super-resolve", "dejpeg"):
            raise InputError(
                f"--region {job.region}: is for results of the picture's own size, in which what "
                "JPEG did is known of whole files: leave it out, or try a crop"
            )
    size = _result_size(upright(picture), config)
    if math.prod(size) > most:
        raise InputError(
            f"{job.image}: would become {size[0]}x{size[1]}, more than the {most:,} pixels allowed;"
            f" try a smaller --scale, or --max-pixels {math.prod(size)}"
        )
    if job.output is not None and config.pages > 1:
        check_stack_writable(job.output, overwrite=job.overwrite)
    elif job.output is not None:
        check_writable(
            job.output,
            picture.pixels.dtype,
            picture.channels,
            has_alpha=picture.alpha is not None,
            overwrite=job.overwrite,
            size=size,
        )
    if job.clean is None:
        return picture, None
    clean = _opened(job.clean, job.clean_page, most, config.pages)
    wanted = _size(upright(picture)) if config.resize is not None else size
    if _size(clean) != wanted or clean.channels != picture.channels:
        width, height = wanted
        raise InputError(
            f"{job.clean}: is {_described(clean)}, but what comes of {job.image} is "
            f"{width}x{height} {_colours(picture)}; try the clean picture of this one"
        )
    pixels = turned_back(clean.pixels, picture)
    return picture, pixels if job.region is None else job.region.of(pixels)


def _opened(
    path: Path,
    page: int | None,
    most: int,
    pages: int,
    *,
    nan_as_missing: bool = False,
    turned: bool = True,
) -> Picture:
    """Read a picture, or the pages that are to be restored together as one."""
    from guided_dip.images import read, read_stack

    if pages > 1:
        return read_stack(path, pages, max_pixels=most, nan_as_missing=nan_as_missing)
    return read(path, max_pixels=most, page=page, nan_as_missing=nan_as_missing, turned=turned)


def _result_size(picture: Picture, config: Config) -> tuple[int, int]:
    """Return the width and height of what will come of a picture."""
    if config.resize is not None:
        return config.resize, config.resize
    width, height = _size(picture)
    scale = (config.enlarge or 2) if config.task == "super-resolve" else 1
    return width * scale, height * scale


def _size(picture: Picture) -> tuple[int, int]:
    height, width = picture.pixels.shape[:2]
    return width, height


def _described(picture: Picture) -> str:
    width, height = _size(picture)
    return f"{width}x{height} {_colours(picture)}"


def _colours(picture: Picture) -> str:
    return "gray" if picture.channels == 1 else "RGB"


def _announcement(run: Run) -> str:
    """Say what will be done."""
    job, restoration, picture, begun = run.job, run.restoration, run.picture, run.begun
    config = restoration.config
    described = _described(picture)
    if config.pages > 1:
        width, height = _size(picture)
        size = f"{width}x{height // config.pages} {_colours(picture)}"
        described = f"{config.pages} pages of {size}"
    what = [f"{described} {picture.pixels.dtype}"]
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
        said.append(f"{restoration.missing.mean():.2%} of its pixels missing")
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


def _restore(run: Run, checkpoint: Checkpoint | None) -> Summary:
    """Run, and write everything: the run folder first, as it has the restoration too."""
    from guided_dip.images import parted, write, write_stack
    from guided_dip.runs import new_run, resumed_run, summarize

    job, restoration, begun = run.job, run.restoration, run.begun
    with ExitStack() as stack:
        if job.resume is not None:
            run.writer = stack.enter_context(resumed_run(job.resume))
            run.writer.records(() if checkpoint is None else checkpoint.records)
        elif job.run_dir is not None:
            folder = new_run(job.run_dir, overwrite=job.overwrite, begun=begun, known=run.known)
            run.writer = stack.enter_context(folder)
        result = run.carry_out(checkpoint)
        summary = summarize(
            restoration,
            result,
            begun.source,
            noise_estimated=begun.noise_estimated,
            region=begun.region,
        )
        restored = run.restored(result.image)
        if run.writer is not None:
            run.writer.save(restoration, result, summary, restored)
    pages = restoration.config.pages
    if job.output is not None and pages > 1:
        each = parted(restored, pages)
        write_stack(job.output, each, like=job.image, overwrite=job.overwrite)
    elif job.output is not None:
        write(job.output, restored, overwrite=job.overwrite)
    if job.run_dir is not None:
        from guided_dip.plots import redraw

        redraw(job.run_dir)
    return summary


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
