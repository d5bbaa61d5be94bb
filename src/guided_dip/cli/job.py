"""A restoration from file to file: shown as it goes, and what came of it told."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from guided_dip.cli.console import give, notes, tell
from guided_dip.cli.progress import progress
from guided_dip.jobs.job import Job
from guided_dip.jobs.watcher import SILENT, Watcher
from guided_dip.words import duration

if TYPE_CHECKING:
    from guided_dip.config import Config
    from guided_dip.guidance import Plan
    from guided_dip.jobs.going import Run
    from guided_dip.result import Record
    from guided_dip.runs import Summary


class _Shown(Watcher):
    """Shows on stderr how a job goes."""

    def begins(self, run: Run) -> None:
        from guided_dip.jobs.announcement import announcement

        tell(announcement(run))

    def remark(self, text: str) -> None:
        tell(text)

    def progress(self, plan: Plan) -> AbstractContextManager[Callable[[Record], None]]:
        return progress(plan)


def carry_out(job: Job, config: Config | None, *, pages: int, quiet: bool, as_json: bool) -> None:
    """Restore a file, and tell what came of it.

    Parameters
    ----------
    job, config
        As for `guided_dip.jobs.carry_out.restore_file`, which says what can go wrong.
    pages
        How many are to be restored one by one.
    quiet
        Say nothing but errors.
    as_json
        Print the result as JSON.
    """
    watcher = SILENT if quiet else _Shown()
    if pages > 1:
        from guided_dip.jobs.pages import restore_pages

        with notes(quiet=quiet):
            summaries = restore_pages(job, config, pages, watcher)
        if as_json or not quiet:
            give(_of_pages(job, summaries, as_json=as_json))
        return
    from guided_dip.jobs.carry_out import restore_file

    with notes(quiet=quiet):
        summary = restore_file(job, config, watcher)
    if as_json:
        give(json.dumps(_as_json(job, summary)))
    elif not quiet:
        give(_conclusion(job, summary))
        for warning in () if summary.residual is None else summary.residual.warnings:
            tell(f"note: {warning}")


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


def _of_pages(job: Job, summaries: list[Summary], *, as_json: bool) -> str:
    """Say what came of the pages of a stack."""
    from guided_dip.runs import plain

    if as_json:
        listed = [plain(summary.model_dump()) for summary in summaries]
        return json.dumps({"output": job.output and str(job.output), "pages": listed})
    kept = job.run_dir or job.resume
    places = [str(place) for place in (job.output, kept) if place is not None]
    seconds = sum(summary.seconds for summary in summaries)
    parts = [f"{' and '.join(places)}: {len(summaries)} pages done in {duration(seconds)}"]
    scored = [
        (summary.scores_before.psnr, summary.scores.psnr)
        for summary in summaries
        if summary.scores_before is not None and summary.scores is not None
    ]
    if scored:
        before, after = (sum(values) / len(scored) for values in zip(*scored, strict=True))
        parts.append(f"mean PSNR {before:.2f} -> {after:.2f} dB")
    return "; ".join(parts)
