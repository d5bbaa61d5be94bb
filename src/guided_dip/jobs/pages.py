"""A stack from file to file: each of its pages restored by itself, in a run folder of its own.

The folders lie in one, beside what goes for all pages. What is finished there is never computed
again, so that a stack that was cut goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided_dip.errors import InterruptionError
from guided_dip.jobs.carry_out import restore_file
from guided_dip.jobs.job import Job, check_paths
from guided_dip.jobs.watcher import SILENT, Watcher
from guided_dip.region import parse_region
from guided_dip.white import Extremes

if TYPE_CHECKING:
    from guided_dip.config import Config
    from guided_dip.runs import Summary

STACK = "stack.json"


def restore_pages(
    job: Job, config: Config | None, pages: int, watcher: Watcher = SILENT
) -> list[Summary]:
    """Restore every page of a file.

    Parameters
    ----------
    job
        What to do; its page is of no account.
    config
        Settings; None if the stack that goes on has them.
    pages
        How many there are.
    watcher
        Who sees how it goes.

    Returns
    -------
    list of Summary
        What came of each page; of fewer, if the watcher has had enough: others stay as they are.

    Raises
    ------
    InputError
        If a file or a setting is not usable.
    RunError
        If a page's run fails, or the result cannot be written.
    InterruptionError
        If a signal asked for the end; what is done is kept.
    """
    from guided_dip.images import check_stack_writable, read, write_stack
    from guided_dip.runs.layout import restored_files

    if job.output is not None:
        check_stack_writable(job.output, overwrite=job.overwrite)
    folder = _folder(job)
    if job.resume is None:
        assert config is not None, "only a stack that goes on has its own settings"
        job = _begin(job, config, folder, pages)
    else:
        config, job = _begun(job, folder)
    summaries: list[Summary] = []
    watcher.late = None
    for page in range(pages):
        if watcher.late is not None:
            raise InterruptionError(_going_on(job, folder, page, pages), watcher.late)
        if summaries and watcher.enough():
            break
        summaries.append(_page(job, config, folder, page, pages, watcher))
    if job.output is not None:
        restored = [read(restored_files(_place(folder, k))[0]) for k in range(len(summaries))]
        left = range(len(summaries), pages)  # as they are
        restored += [read(job.image, page=page, nan_as_missing=True) for page in left]
        write_stack(job.output, restored, like=job.image, overwrite=job.overwrite)
    if job.run_dir is None and job.resume is None:
        shutil.rmtree(folder, ignore_errors=True)
    return summaries


def _folder(job: Job) -> Path:
    """Return where the pages' runs go: where they are wanted, or beside the output."""
    if job.resume is not None:
        return job.resume
    if job.run_dir is not None:
        return job.run_dir
    if job.output is None:
        check_paths(job)  # says so
    assert job.output is not None, "or it would have been refused"
    return job.output.with_name(f"{job.output.stem}.run")


def _place(folder: Path, page: int) -> Path:
    return folder / f"page-{page:04d}"


def _begin(job: Job, config: Config, folder: Path, pages: int) -> Job:
    """Make the folder, with what goes for all pages; return the job with what was found of them."""
    from guided_dip.errors import InputError, RunError
    from guided_dip.files import write_whole
    from guided_dip.images import extremes_of_file
    from guided_dip.jobs.beside import read_known
    from guided_dip.runs import Source, keep_known

    check_paths(dataclasses.replace(job, run_dir=None, output=job.output or folder))
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        if not (job.overwrite and (folder / STACK).is_file()):
            go_on = f"--resume {folder} to go on with it, or " * (folder / STACK).is_file()
            raise InputError(f"{folder}: exists already; try {go_on}another place")
        shutil.rmtree(folder)
    known = read_known(
        job.image,
        config,
        mask=job.mask,
        invert_mask=job.invert_mask,
        kernel=job.kernel,
        gain=job.gain,
        max_pixels=job.most_pixels,
    )
    extremes = None
    if config.white == "auto":
        most = job.most_pixels
        extremes = extremes_of_file(job.image, missing=known.mask, max_pixels=most)
    about = {
        "source": dataclasses.asdict(Source.of(job.image)),
        "pages": pages,
        "region": None if job.region is None else str(job.region),
        "config": {"white": config.white} | config.model_dump(mode="json", exclude_unset=True),
        "extremes": extremes,
    }
    try:
        folder.mkdir(exist_ok=True)
        keep_known(known, folder)
        write_whole(folder / STACK, json.dumps(about, indent=2).encode() + b"\n")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); try another") from error
    return dataclasses.replace(job, extremes=extremes)


def _begun(job: Job, folder: Path) -> tuple[Config, Job]:
    """Read back what goes for all pages of a stack that goes on."""
    from guided_dip.config import make_config
    from guided_dip.errors import InputError
    from guided_dip.runs import Source, kept_known

    try:
        about: dict[str, Any] = json.loads((folder / STACK).read_text(encoding="utf-8"))
        # Stacks from before there was a choice of white go on with their type's.
        config = make_config({"white": "type"} | about["config"])
        digest, found = about["source"]["sha256"], about.get("extremes")
        extremes = None if found is None else Extremes(*found)
        region = None if about["region"] is None else parse_region(about["region"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder}: holds no stack that could go on; try --run-dir to begin one"
        ) from None
    if Source.of(job.image).sha256 != digest:
        raise InputError(f"{folder}: is of another stack, {about['source']['name']}; try that one")
    known = kept_known(folder)
    return config, dataclasses.replace(
        job,
        region=region,
        mask=known["mask"],
        invert_mask=False,
        kernel=known["kernel"],
        gain=known["gain"],
        extremes=extremes,
    )


def _page(
    job: Job, config: Config, folder: Path, page: int, pages: int, watcher: Watcher
) -> Summary:
    """Restore a page, or go on with it, or find it done."""
    from guided_dip.runs import load_run
    from guided_dip.runs.layout import BEGUN, DRAFT, SUMMARY

    place = _place(folder, page)
    if (place / SUMMARY).is_file():
        return load_run(place).summary
    draft = (place / DRAFT / BEGUN).is_file()
    one = dataclasses.replace(
        job,
        output=None,
        run_dir=None if draft else place,
        resume=place if draft else None,
        page=page,
        clean_page=None if job.clean is None else page,
        overwrite=True,
    )
    watcher.remark(f"page {page + 1} of {pages}")
    try:
        return restore_file(one, None if draft else config, watcher)
    except InterruptionError as cut:
        raise InterruptionError(_going_on(job, folder, page, pages), cut.signal) from None


def _going_on(job: Job, folder: Path, page: int, pages: int) -> str:
    return f"interrupted at page {page + 1} of {pages}; to go on: {job.going_on(folder)}"


def page_count(image: Path, resume: Path | None) -> int:
    """Count the pages that are to be restored: one of what is no TIFF file, or is not there.

    Parameters
    ----------
    image
        The picture's file.
    resume
        What goes on, which may be one page's run.
    """
    try:
        if not image.is_file():
            return 1
    except OSError:  # such as a name that is too long: reading it says so
        return 1
    from guided_dip.images import count_pages

    alone = resume is not None and not (resume / STACK).is_file()
    return 1 if alone else count_pages(image)
