"""A restoration from file to file: check everything, compute, write."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided_dip.jobs.announcement import colours_of, described, size_of
from guided_dip.jobs.going import Run
from guided_dip.jobs.job import Job, check_paths
from guided_dip.jobs.stop import noted_signals
from guided_dip.jobs.watcher import SILENT, Watcher
from guided_dip.region import parse_region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guided_dip.config import Config
    from guided_dip.images import Picture
    from guided_dip.restoration import Checkpoint, Known, Restoration
    from guided_dip.result import Record, Result
    from guided_dip.runs import Begun, Summary
    from guided_dip.white import Extremes


def restore_file(job: Job, config: Config | None, watcher: Watcher = SILENT) -> Summary:
    """Restore a file; whatever can be checked is checked before anything is computed.

    Parameters
    ----------
    job
        What to do.
    config
        Settings; None if the run that is resumed has them.
    watcher
        Who sees how it goes.

    Returns
    -------
    Summary
        What came of it.

    Raises
    ------
    InputError
        If a file or a setting is not usable.
    RunError
        If the run fails, or its result cannot be written.
    InterruptionError
        If a signal asked it to end; its state is kept.
    """
    return _restore(*_ready(job, config, watcher))


def restore_together(
    jobs: Sequence[Job], config: Config, watchers: Sequence[Watcher]
) -> list[Summary | Exception | None]:
    """Restore several files whose fits are computed as one, if they can be.

    Each result is that of the file by itself but for rounding. They leave no checkpoints, so what
    cannot be computed as one is left to `restore_file`, which does.

    Parameters
    ----------
    jobs
        What to do, without resuming.
    config
        Settings of all.
    watchers
        Who sees how each goes.

    Returns
    -------
    list of Summary, Exception or None
        What came of each, or what `restore_file` would have raised; None for a file that has to be
        restored by itself: it is of another size than the others, its fit diverged, or all of them
        took too much memory.

    Raises
    ------
    InterruptionError
        If a signal asked for the end; nothing is kept.
    """
    from guided_dip.restoration import why_apart

    outcomes: dict[int, Summary | Exception] = {}
    ready: dict[int, Run] = {}
    for place, (job, watcher) in enumerate(zip(jobs, watchers, strict=True)):
        with _kept_in(outcomes, place):
            ready[place], _ = _ready(job, config, watcher)
    if len(ready) > 1 and not why_apart([run.restoration for run in ready.values()]):
        for place, result in _results_if_well(ready).items():
            with _kept_in(outcomes, place), _run_folder(ready[place], None):
                outcomes[place], restored = _in_folder(ready[place], result)
            if not isinstance(outcomes[place], Exception):
                with _kept_in(outcomes, place):
                    _write(ready[place], restored)
    return [outcomes.get(place) for place in range(len(jobs))]


@contextmanager
def _kept_in(outcomes: dict[int, Summary | Exception], place: int) -> Iterator[None]:
    """Keep what goes wrong with one file, so that it stops no other."""
    from guided_dip.errors import InterruptionError

    try:
        yield
    except InterruptionError:
        raise
    except Exception as error:
        outcomes[place] = error


def _results_if_well(runs: dict[int, Run]) -> dict[int, Result]:
    """Compute the fits of several runs as one; none if that fails, as by itself each may not."""
    from guided_dip.errors import InterruptionError, reason_of

    try:
        return _results_together(runs)
    except InterruptionError:
        raise
    except Exception as error:
        for run in runs.values():
            run.watcher.remark(f"not computed as one: {reason_of(error)}")
        return {}


def _results_together(runs: dict[int, Run]) -> dict[int, Result]:
    """Compute the fits of several runs as one; leave out those that diverge."""
    from guided_dip.errors import InterruptionError
    from guided_dip.restoration import run_together

    with ExitStack() as stack:
        stop = stack.enter_context(noted_signals())
        updates = [
            stack.enter_context(run.watcher.progress(run.restoration.plan)) for run in runs.values()
        ]

        def on_step(number: int, record: Record) -> None:
            updates[number](record)
            if stop.signal is not None:
                raise InterruptionError("interrupted; nothing is kept", stop.signal)

        results = run_together([run.restoration for run in runs.values()], on_step)
    for run in runs.values():
        run.watcher.late = stop.signal
    return {
        place: result for place, result in zip(runs, results, strict=True) if result is not None
    }


def _ready(job: Job, config: Config | None, watcher: Watcher) -> tuple[Run, Checkpoint | None]:
    """Check all that can be, read everything, and find where to go on."""
    begun = None
    if job.resume is not None:
        begun = _begun(job, job.resume)
        region = None if begun.region is None else parse_region(begun.region)
        job = dataclasses.replace(
            job, run_dir=job.resume, page=begun.page, region=region, extremes=begun.extremes
        )
        config = begun.config
        if begun.extremes is not None:  # found again, with what is told of it
            config = config.replace(white="auto")
        if job.device is not None and config.device.startswith("cuda"):
            config = config.replace(device=job.device)
    assert config is not None, "either there are settings, or the run that goes on has them"
    check_paths(job)
    picture, clean = _read(job, config)
    known = _known(job, config, picture)
    extremes = _extremes(job, config, picture, known)
    known = _of_what_is_restored(job, config, picture, known)
    from guided_dip.restoration import prepare  # loads torch

    pixels = picture.pixels if job.region is None else job.region.of(picture.pixels)
    restoration = prepare(
        pixels,
        config,
        known,
        clean=clean,
        time_budget=job.time_budget,
        extremes=extremes,
    )
    checkpoint = _checkpoint(job, restoration)
    begun = begun or _begin(
        job, restoration, noise_estimated=config.noise == "auto", extremes=extremes
    )
    run = Run(job, restoration, picture, begun, known, watcher)
    watcher.begins(run)
    return run, checkpoint


def _known(job: Job, config: Config, picture: Picture) -> Known:
    """Read what is known besides the picture; a run that goes on has it in its folder."""
    from guided_dip.jobs.beside import on_each_page, read_known
    from guided_dip.runs import kept_known
    from guided_dip.runs.layout import DRAFT, PICTURES

    paths: dict[str, Path | None] = {"mask": job.mask, "kernel": job.kernel, "gain": job.gain}
    if job.resume is not None:
        paths = kept_known(job.resume / DRAFT / PICTURES)
    inverted = job.invert_mask and job.resume is None
    most = job.most_pixels
    known = read_known(job.image, config, **paths, invert_mask=inverted, max_pixels=most)
    if job.resume is None and config.pages > 1:
        return on_each_page(known, config.pages, picture)
    return known


def _of_what_is_restored(job: Job, config: Config, picture: Picture, known: Known) -> Known:
    """Return what is known of the region that is restored; a run that goes on has no more."""
    from guided_dip.jobs.beside import in_region

    if job.resume is not None or job.region is None or config.pages > 1:
        return known
    return in_region(known, job.region, picture)


def _extremes(job: Job, config: Config, picture: Picture, known: Known) -> Extremes | None:
    """Return between which values all of the file lies, if its white is to be found by that."""
    from guided_dip.images import extremes_of_file

    if config.white != "auto" or job.extremes is not None or job.resume is not None:
        return job.extremes
    return extremes_of_file(
        job.image, picture, page=job.page, missing=known.mask, max_pixels=job.most_pixels
    )


def _begin(
    job: Job, restoration: Restoration, *, noise_estimated: bool, extremes: Extremes | None
) -> Begun:
    from guided_dip.runs import Begun, Source, versions

    return Begun(
        source=Source.of(job.image),
        page=job.page,
        region=None if job.region is None else str(job.region),
        clean=None if job.clean is None else Source.of(job.clean),
        config=restoration.config,
        noise_estimated=noise_estimated,
        versions=versions(),
        extremes=extremes,
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
    wanted = size_of(upright(picture)) if config.resize is not None else size
    if size_of(clean) != wanted or clean.channels != picture.channels:
        width, height = wanted
        raise InputError(
            f"{job.clean}: is {described(clean)}, but what comes of {job.image} is "
            f"{width}x{height} {colours_of(picture)}; try the clean picture of this one"
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
    width, height = size_of(picture)
    scale = (config.enlarge or 2) if config.task == "super-resolve" else 1
    return width * scale, height * scale


def _restore(run: Run, checkpoint: Checkpoint | None) -> Summary:
    """Run, and write everything: the run folder first, as it has the restoration too."""
    with _run_folder(run, checkpoint):
        result = run.carry_out(checkpoint)
        summary, restored = _in_folder(run, result)
    _write(run, restored)
    return summary


@contextmanager
def _run_folder(run: Run, checkpoint: Checkpoint | None) -> Iterator[None]:
    """Have what the run writes as it goes, if it writes any, end up in its folder."""
    from guided_dip.runs import new_run, resumed_run

    job = run.job
    with ExitStack() as stack:
        if job.resume is not None:
            run.writer = stack.enter_context(resumed_run(job.resume))
            run.writer.records(() if checkpoint is None else checkpoint.records)
        elif job.run_dir is not None:
            overwrite, begun = job.overwrite, run.begun
            folder = new_run(job.run_dir, overwrite=overwrite, begun=begun, known=run.known)
            run.writer = stack.enter_context(folder)
        yield


def _in_folder(run: Run, result: Result) -> tuple[Summary, Picture]:
    """Sum a run up, and write it to its folder, if it has one."""
    from guided_dip.runs import summarize

    begun = run.begun
    summary = summarize(
        run.restoration,
        result,
        begun.source,
        noise_estimated=begun.noise_estimated,
        region=begun.region,
    )
    restored = run.restored(result.image)
    if run.writer is not None:
        run.writer.save(run.restoration, result, summary, restored)
    return summary, restored


def _write(run: Run, restored: Picture) -> None:
    """Write the restoration where it is wanted, and the run folder's figures."""
    from guided_dip.images import parted, write, write_stack

    job, pages = run.job, run.restoration.config.pages
    if job.output is not None and pages > 1:
        each = parted(restored, pages)
        write_stack(job.output, each, like=job.image, overwrite=job.overwrite)
    elif job.output is not None:
        write(job.output, restored, overwrite=job.overwrite)
    if job.run_dir is not None and job.figures:
        from guided_dip.plots import redraw

        redraw(job.run_dir)
