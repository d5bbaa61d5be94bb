"""What the commands of a batch share: who computes, how it is carried out, what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guided_dip.cli.console import give, tell
from guided_dip.cli.many import batch_progress, told
from guided_dip.words import of_file

if TYPE_CHECKING:
    from guided_dip.batch.executors import Crew
    from guided_dip.batch.manifest import Enrolled, Manifest
    from guided_dip.batch.place import Place
    from guided_dip.batch.progress import Ending, Rules
    from guided_dip.batch.work import Orders

SHOWN = 10  # failures that are told one by one


def crew_of(
    executor: str,
    workers: int | None,
    together: int | None,
    ray_address: str | None,
    gpus: float,
    per_job: int,
    slurm: list[str] | None,
) -> Crew:
    """Return who restores, as the options say; each is described where the option is."""
    from guided_dip.batch.executors import Crew, parse_assignments

    asked = parse_assignments(slurm or [])
    return Crew(executor, workers, together, ray_address, gpus, per_job, asked)


def absolute_file(path: Path | None) -> Path | None:
    """Return where a file is for other machines, too; what is not there is an error."""
    if path is None:
        return None
    from guided_dip.batch.find import absolute
    from guided_dip.images import read

    read(path)
    return absolute(path)


def check_orders(orders: Orders) -> None:
    """Refuse settings that no picture could be restored with.

    Raises
    ------
    InputError
        If they are such.
    """
    from guided_dip.errors import InputError

    if orders.config.pages > 1:
        raise InputError("pages is for a single stack; try --joint")


def carried_out(
    manifest: Manifest,
    digest: str,
    place: Place,
    orders: Orders,
    crew: Crew,
    rules: Rules,
    *,
    quiet: bool,
) -> Ending:
    """Carry out what is queued with some settings, and show how it goes.

    Parameters
    ----------
    manifest, digest, place, rules
        As for `guided_dip.batch.coordinator.Coordinator`.
    orders
        What the digest stands for.
    crew
        Who restores.
    quiet
        Show nothing.
    """
    from guided_dip.batch import call
    from guided_dip.batch.executors import make_executor
    from guided_dip.batch.progress import Ending, requests

    if not manifest.has_queued(digest) and rules.look is None:
        counts = manifest.counts()
        counts, others = replace(counts, queued=0), counts.queued
        return Ending(counts, 0, 0, others=others)
    with requests() as asked:
        executor, together = make_executor(crew, orders, place)
        rules = replace(rules, together=together)
        with batch_progress(quiet=quiet) as update:
            return call.carry_out_batch(manifest, digest, executor, place, rules, asked, update)


def found(place: Place, enrolled: Enrolled) -> str:
    """Say how many pictures were found, and what is to become of them."""
    parts = {
        "new": enrolled.new,
        "changed": enrolled.changed,
        "left from before": enrolled.waiting,
        "done already": enrolled.kept,
        "failed before (batch retry begins them anew)": enrolled.failed_before,
        "in the way of others": enrolled.clashes,
    }
    said = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    return f"{place.outdir}: {said or 'no pictures found'}"


def conclude(
    manifest: Manifest, place: Place, ending: Ending, *, quiet: bool, as_json: bool
) -> None:
    """Say what came of it, and fail if not all is done.

    Parameters
    ----------
    manifest, place
        Of the batch.
    ending
        How it ended.
    quiet
        Say nothing but errors.
    as_json
        Print the result as JSON.

    Raises
    ------
    RunError
        If a picture failed, or nothing could be written any more.
    InterruptionError
        If a signal has asked for the end, and pictures are left.
    """
    from guided_dip.errors import InterruptionError, RunError

    counts = ending.counts
    failures = manifest.entries("failed", limit=SHOWN)
    if as_json:
        listed = [{"name": entry.name, "reason": entry.reason} for entry in failures]
        states = {**vars(counts), "left": counts.left, "total": counts.total}
        now = {"done_now": ending.done, "failed_now": ending.failed}
        give(json.dumps({"outdir": str(place.outdir), **states, **now, "failures": listed}))
    elif not quiet:
        give(f"{place.outdir}: {told(counts)}")
    if ending.others and not quiet:
        tell(
            f"{ending.others} pictures of earlier commands are left, with other settings; "
            "batch retry goes on with them"
        )
    if ending.stuck:
        raise RunError(
            f"{ending.stuck}; {counts.left} pictures are left: the same command goes on when there "
            "is space"
        )
    if ending.signal is not None and counts.left:
        raise InterruptionError(
            f"interrupted; {counts.left} pictures are left: the same command goes on", ending.signal
        )
    if counts.failed:
        first = of_file(failures[0].name, failures[0].reason)
        more = f" and {counts.failed - 1} more" * (counts.failed > 1)
        raise RunError(
            f"{counts.failed} of {counts.total} pictures failed: {first}{more}; "
            f"batch status {place.outdir} tells of them, batch retry begins them anew"
        )
