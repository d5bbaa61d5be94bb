"""The restoration of pictures of a batch, in whatever process or machine it is done."""

from __future__ import annotations

import errno
import shutil
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guided_dip.batch.entries import Done
from guided_dip.batch.find import stamp_of
from guided_dip.batch.logs import Admit, Log, LoggedWatcher, opened_logs
from guided_dip.batch.work import ENDS, Event, Item, Orders, Tell
from guided_dip.errors import InputError, InterruptionError, RunError, reason_of
from guided_dip.files import remove_leftovers
from guided_dip.jobs.job import Job
from guided_dip.jobs.pages import STACK, page_count, restore_pages
from guided_dip.jobs.watcher import Watcher
from guided_dip.region import parse_region
from guided_dip.words import one_line

if TYPE_CHECKING:
    from guided_dip.config import Config
    from guided_dip.runs import Summary

STUCK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # what stops all that writes there


def _admit_anything(_: int) -> None:
    pass


def carry_out(
    items: Sequence[Item], orders: Orders, tell: Tell, admit: Admit = _admit_anything
) -> None:
    """Restore pictures; what goes wrong with one stops no other.

    Parameters
    ----------
    items
        The pictures: as one if they can be, else one after another.
    orders
        What goes for all that have none of their own.
    tell
        Told what becomes of each.
    admit
        Called with the bytes that all of it takes before it is computed, to wait for them.
    """
    left = {item.name for item in items}

    def told(event: Event) -> None:
        if event.kind in ENDS:
            left.discard(event.name)
        tell(event)

    try:
        alike = all(item.orders is None for item in items)
        if len(items) > 1 and alike and _can_go_together(orders):
            _together(items, orders, told, admit)
        else:
            for item in items:
                _alone(item, item.orders or orders, told, admit)
    except (InterruptionError, KeyboardInterrupt, SystemExit) as cut:
        for item in items:
            if item.name in left:
                tell(Event("cut", item.name))
        if not isinstance(cut, InterruptionError):
            raise


def _can_go_together(orders: Orders) -> bool:
    """Whether fits of several pictures may be computed as one, their sizes apart."""
    from guided_dip.restoration import why_alone

    known = (orders.mask, orders.kernel, orders.gain, orders.clean, orders.region)
    plain = orders.config.task == "denoise" and all(path is None for path in known)
    return plain and not orders.joint and not orders.keep_runs and not why_alone(orders.config)


def _together(items: Sequence[Item], orders: Orders, tell: Tell, admit: Admit) -> None:
    from guided_dip.jobs.carry_out import restore_together

    begun: list[tuple[Item, LoggedWatcher]] = []
    needed = 0

    def admit_all(more: int) -> None:
        nonlocal needed
        needed += more
        admit(needed)

    with opened_logs(items) as logs:
        for item, log in zip(items, logs, strict=True):
            with _told(item, log, tell):
                _check(item)
                item.work.mkdir(exist_ok=True)  # says that it has been begun
                if page_count(item.source, None) > 1 or any(item.work.iterdir()):
                    _restore(item, orders, tell, log, admit)
                else:
                    begun.append((item, LoggedWatcher(item, log, tell, admit_all)))
        jobs = [_job(item, orders, None) for item, _ in begun]
        outcomes = restore_together(jobs, orders.config, [watcher for _, watcher in begun])
        for (item, watcher), outcome in zip(begun, outcomes, strict=True):
            with _told(item, watcher.log, tell):
                shutil.rmtree(item.work, ignore_errors=True)
                if isinstance(outcome, Exception):
                    raise outcome
                if outcome is not None:
                    tell(_done(item, [outcome], watcher.log))
        _check_late(watcher for _, watcher in begun)
        for (item, watcher), outcome in zip(begun, outcomes, strict=True):
            if outcome is None:
                with _told(item, watcher.log, tell):
                    watcher.remark("restored by itself")
                    _restore(item, orders, tell, watcher.log, admit)


def _alone(item: Item, orders: Orders, tell: Tell, admit: Admit) -> None:
    with opened_logs([item]) as (log,), _told(item, log, tell):
        _check(item)
        _restore(item, orders, tell, log, admit)


def _check(item: Item) -> None:
    """Refuse what would change a file that is not the batch's, and make place for its own."""
    if item.output.exists() and not item.ours:
        raise InputError(f"{item.output}: exists already; try another OUTDIR, or --overwrite")
    for folder in (item.output.parent, item.work.parent):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{folder}: cannot be made ({error.strerror})") from error
    if item.work.exists():  # an attempt was killed, perhaps while it wrote the output
        remove_leftovers(item.output)


def _restore(item: Item, orders: Orders, tell: Tell, log: Log, admit: Admit) -> None:
    """Restore a picture, from where an earlier attempt had got to if that can be used."""
    job = _job(item, orders, item.work)
    if orders.hooks is not None:
        orders.hooks.begins(item)
    pages = 1 if orders.page is not None else page_count(item.source, None)
    config = orders.config
    if orders.joint and pages > 1:
        config, pages = config.replace(pages=pages), 1
    watcher = LoggedWatcher(item, log, tell, admit, pages, orders.told_every)
    summaries = _gone_on(item, job, pages, watcher)
    if summaries is None:
        shutil.rmtree(item.work, ignore_errors=True)
        summaries = _summaries(job, config, pages, watcher)
    if orders.keep_runs:
        shutil.rmtree(item.run, ignore_errors=True)
        item.run.parent.mkdir(parents=True, exist_ok=True)
        item.work.replace(item.run)
    else:
        shutil.rmtree(item.work, ignore_errors=True)
    if orders.hooks is not None:
        orders.hooks.ended(item, summaries)
    tell(_done(item, summaries, log))
    _check_late([watcher])


def _check_late(watchers: Iterable[Watcher]) -> None:
    """End here if a signal asked for it when there was no step left to end."""
    late = next((watcher.late for watcher in watchers if watcher.late is not None), None)
    if late is not None:
        raise InterruptionError("no more are begun, as was asked", late)


def _job(item: Item, orders: Orders, run_dir: Path | None) -> Job:
    return Job(
        item.source,
        item.output,
        orders.clean,
        run_dir,
        page=orders.page,
        region=None if orders.region is None else parse_region(orders.region),
        mask=orders.mask,
        invert_mask=orders.invert_mask,
        kernel=orders.kernel,
        gain=orders.gain,
        max_pixels=orders.max_pixels,
        checkpoint_every=orders.checkpoint_every,
        time_budget=orders.time_budget,
        overwrite=True,
        device=orders.config.device if orders.config.device.startswith("cuda") else None,
        figures=orders.keep_runs and orders.figures,
        preview_every=orders.preview_every,
    )


def _gone_on(item: Item, job: Job, pages: int, watcher: LoggedWatcher) -> list[Summary] | None:
    """Go on with what an earlier attempt left; None if it left nothing that can be used."""
    from guided_dip.runs.layout import BEGUN, DRAFT

    left = item.work / STACK if pages > 1 else item.work / DRAFT / BEGUN
    if not left.is_file():
        return None
    try:
        watcher.remark("going on with what an earlier attempt left")
        return _summaries(replace(job, run_dir=None, resume=item.work), None, pages, watcher)
    except InputError as error:  # other versions, another picture, or damaged
        watcher.remark(f"starting anew: {error}")
        return None


def _summaries(job: Job, config: Config | None, pages: int, watcher: Watcher) -> list[Summary]:
    from guided_dip.jobs.carry_out import restore_file

    if pages > 1:
        return restore_pages(job, config, pages, watcher)
    return [restore_file(job, config, watcher)]


def _done(item: Item, summaries: Sequence[Summary], log: Log) -> Event:
    first = summaries[0]
    stamp = stamp_of(item.output)
    if stamp is None:
        raise RunError(f"{item.output}: has vanished; try again")
    noise = "" if first.noise is None else str(first.noise)
    if noise and first.noise_estimated:
        noise += " (estimated)"
    notes = [summary.note for summary in summaries]
    notes += [
        warning
        for summary in summaries
        if summary.residual is not None
        for warning in summary.residual.warnings
    ]
    note = "; ".join(dict.fromkeys(filter(None, notes)))
    seconds = sum(summary.seconds for summary in summaries)
    width, height = first.size
    log(f"done in {seconds:.1f} s{f'; {note}' if note else ''}")
    return Event(
        "done",
        item.name,
        share=1.0,
        done=Done(
            content=first.source.sha256,
            stamp=stamp,
            seconds=seconds,
            width=width,
            height=height,
            channels=first.channels,
            pages=len(summaries),
            noise=noise,
            note=note,
        ),
    )


@contextmanager
def _told(item: Item, log: Log, tell: Tell) -> Iterator[None]:
    """Tell why a picture could not be restored; an interruption is for others to tell."""
    try:
        yield
    except InterruptionError as error:
        log(str(error))
        raise
    except (InputError, RunError) as error:
        reason = reason_of(error)
        log(f"failed: {reason}")
        tell(Event("stuck" if _is_stuck(error) else "failed", item.name, reason))
    except OSError as error:
        why = error.strerror or type(error).__name__
        reason = one_line(f"{item.output}: cannot be written ({why})")
        log(f"failed: {reason}\n{traceback.format_exc()}")
        tell(Event("stuck" if error.errno in STUCK else "failed", item.name, reason))
    except Exception as error:
        log(f"failed: {reason_of(error)}\n{traceback.format_exc()}")
        tell(Event("failed", item.name, reason_of(error)))


def _is_stuck(error: BaseException) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in STUCK
