"""``guided-dip batch``: thousands of pictures, and ``batch status``, ``retry`` and ``report``."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli import options
from guided_dip.cli.console import give, notes, tell
from guided_dip.cli.many import batch_progress, counted_progress, per_hour, told
from guided_dip.cli.settings import make_settings
from guided_dip.jobs.asked import of_the_task
from guided_dip.jobs.beside import kernel_of

if TYPE_CHECKING:
    from guided_dip.batch.coordinator import Ending, Rules
    from guided_dip.batch.executors import Crew
    from guided_dip.batch.manifest import Enrolled, Manifest
    from guided_dip.batch.place import Place
    from guided_dip.batch.reading import Reading
    from guided_dip.batch.work import Orders

SHOWN = 10  # failures that are told one by one

Outdir = Annotated[Path, typer.Argument(metavar="OUTDIR", help="Where the batch's results go.")]


class Batch(typer.core.TyperGroup):
    """Takes what is none of its commands for the pictures to restore."""

    usual = "restore"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in front that is meant where none is named."""
        if not args or args[0] not in self.commands:
            args = [self.usual, *args]
        return super().parse_args(ctx, args)


batch = typer.Typer(cls=Batch, add_completion=False, rich_markup_mode=None)


@batch.command()
def restore(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT", help="Pictures, folders of them, or patterns in quotes."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUTDIR", help="Where the results go, in the same tree."
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder whose tree is mirrored.  [default: what holds all INPUTs]",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="SUFFIX", help="png, tif, jpg, webp, bmp or fits for all results."
        ),
    ] = "same",
    flat: Annotated[
        bool, typer.Option("--no-recursive", help="Do not look into folders in folders.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on as pictures arrive, until Ctrl-C.")
    ] = False,
    watch_every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How often to look for them.")
    ] = 5.0,
    task: options.Task = None,
    mask: options.Mask = None,
    invert_mask: options.InvertMask = False,
    scale: options.Scale = None,
    kernel: options.Kernel = None,
    gain: options.Gain = None,
    noise: options.Noise = None,
    white: options.White = None,
    supervision: options.Supervision = None,
    backbone: options.Backbone = None,
    schedule: options.Schedule = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    device: options.Device = None,
    effort: options.Effort = None,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    strength: options.Strength = None,
    joint: options.Joint = False,
    nan_as_missing: options.NanAsMissing = False,
    max_pixels: options.MaxPixels = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Most memory of all workers, such as 8GiB: they wait for one another, and a "
            "picture that needs more is restored in parts.  [default: half of the machine's]",
        ),
    ] = None,
    executor: options.Executor = "local",
    workers: options.Workers = None,
    together: options.Together = None,
    ray_address: options.RayAddress = None,
    gpus: options.Gpus = 0.0,
    per_job: options.PerJob = 20,
    slurm: options.Slurm = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Restore only this part, beside other machines that do the others."
        ),
    ] = None,
    checkpoint_every: options.CheckpointEvery = 60.0,
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Keep each picture's run, with its figures.")
    ] = False,
    compare_contents: Annotated[
        bool,
        typer.Option(
            "--compare-contents", help="Read all pictures that are done, to see if they changed."
        ),
    ] = False,
    fail_fast: options.FailFast = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Restore all anew, and replace files that exist.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Restore many pictures, and skip what is done.

    What was interrupted goes on where it was. `batch status OUTDIR` tells how far it is,
    `batch retry OUTDIR` begins what failed anew, `batch report OUTDIR` makes a page of all
    pictures before and after.
    """
    values: dict[str, Any] = {
        **of_the_task(task, mask=mask, scale=scale, kernel=kernel, gain=gain),
        "noise": noise,
        "white": white,
        "supervision": supervision,
        "backbone": backbone,
        "schedule": schedule,
        "steps": steps,
        "seed": seed,
        "device": device,
        "effort": effort,
        "strength": strength,
        "nan_as_missing": nan_as_missing or None,
        "max_memory": max_memory,
    }
    settings = make_settings(values, preset=preset, file=config, assignments=assignments or [])
    from guided_dip.batch import call
    from guided_dip.batch.coordinator import Rules
    from guided_dip.batch.executors import threaded
    from guided_dip.batch.find import output_suffix
    from guided_dip.batch.place import Place, parse_shard
    from guided_dip.batch.work import Orders

    crew = _crew(executor, workers, together, ray_address, gpus, per_job, slurm)
    orders = Orders(
        settings,
        mask=_absolute(mask),
        kernel=_absolute(kernel_of(kernel)[1]),
        gain=_absolute(gain),
        invert_mask=invert_mask,
        joint=joint,
        max_pixels=max_pixels,
        checkpoint_every=checkpoint_every,
        keep_runs=keep_runs,
    )
    orders = threaded(orders, crew)
    _check(orders)
    sources = call.Sources(inputs, root, output_suffix(form), not flat)
    part = None if shard is None else parse_shard(shard)
    tree = call.root_of(sources)
    place = Place(call.make_outdir(output), part)
    with notes(quiet=quiet), call.opened(place, tree) as manifest:
        if root is not None and manifest.root != tree:
            manifest.root = tree
        digest = call.keep_orders(manifest, orders)

        enrolled = call.enrol(
            manifest,
            place,
            sources,
            digest,
            overwrite=overwrite,
            compare_contents=compare_contents,
            watched=watch,
        )
        if not quiet:
            tell(_found(place, enrolled))
        rules = Rules(
            fail_fast=fail_fast,
            overwrite=overwrite,
            look=partial(call.look, manifest, place, sources, digest) if watch else None,
            look_every=watch_every,
        )
        ending = _carried_out(manifest, digest, place, orders, crew, rules, quiet=quiet)
        _conclude(manifest, place, ending, quiet=quiet, as_json=as_json)


@batch.command()
def status(outdir: Outdir, as_json: options.AsJson = False) -> None:
    """Tell how far a batch is, whether or not it is being carried out."""
    from guided_dip.batch.find import absolute
    from guided_dip.batch.place import Place
    from guided_dip.batch.reading import Reading

    place = Place(absolute(outdir))
    with Reading(place) as reading:
        counts, pace = reading.counts(), reading.pace()
        running = reading.entries("running", 0, SHOWN)
        failed = reading.entries("failed", 0, SHOWN)
    if as_json:
        states = {**vars(counts), "left": counts.left, "total": counts.total}
        failures = [{"name": entry.name, "reason": entry.reason} for entry in failed]
        begun = [entry.name for entry in running]
        give(json.dumps({**states, "per_hour": pace, "begun": begun, "failures": failures}))
        return
    lately = "" if pace is None else f"; lately {per_hour(pace)}"
    lines = [f"{place.outdir}: {told(counts)}{lately}"]
    lines += [f"  begun: {entry.name}" for entry in running]
    lines += [f"  failed: {entry.name}: {entry.reason}" for entry in failed]
    more = counts.failed - len(failed)
    lines += [f"  and {more} more; batch report has them all"] * (more > 0)
    give("\n".join(lines))


@batch.command()
def report(outdir: Outdir, quiet: options.Quiet = False) -> None:
    """Make a page of all pictures, before and after, with times and what failed."""
    from guided_dip.batch.find import absolute
    from guided_dip.batch.gallery import write_gallery
    from guided_dip.batch.place import Place
    from guided_dip.batch.reading import Reading

    place = Place(absolute(outdir))
    with Reading(place) as reading, counted_progress("pictures drawn", quiet=quiet) as update:
        page = write_gallery(
            place.report,
            root=reading.root,
            outdir=place.outdir,
            counts=reading.counts(),
            entries=reading.entries,
            title=place.outdir.name,
            about=_about(reading),
            pace=reading.pace(),
            on_progress=update,
        )
    give(str(page))


def _about(reading: Reading) -> dict[str, str]:
    """Say what the pictures were restored from and with."""
    content = reading.settings()
    settings = {**content.get("settings", {}), **{k: True for k in ("joint",) if k in content}}
    listed = ", ".join(f"{key} {value}" for key, value in settings.items())
    return {"Sources": str(reading.root), "Settings": listed or "the defaults"}


@batch.command()
def retry(
    outdir: Outdir,
    executor: options.Executor = "local",
    workers: options.Workers = None,
    together: options.Together = None,
    ray_address: options.RayAddress = None,
    gpus: options.Gpus = 0.0,
    per_job: options.PerJob = 20,
    slurm: options.Slurm = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this part of a batch that is parted.")
    ] = None,
    fail_fast: options.FailFast = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Begin anew what failed, and go on with what is left, with the settings it had."""
    from guided_dip.batch import call
    from guided_dip.batch.coordinator import Ending, Rules
    from guided_dip.batch.executors import threaded
    from guided_dip.batch.find import absolute
    from guided_dip.batch.place import Place, parse_shard

    crew = _crew(executor, workers, together, ray_address, gpus, per_job, slurm)
    part = None if shard is None else parse_shard(shard)
    place = Place(absolute(outdir), part)
    with notes(quiet=quiet), call.opened(place) as manifest:
        count = manifest.retry_failed()
        if not quiet:
            tell(f"{place.outdir}: {count} that failed and {manifest.counts().left - count} others")
        ending, rules = Ending(manifest.counts(), 0, 0), Rules(fail_fast=fail_fast)
        for digest in manifest.queued_settings():
            orders = threaded(call.kept_orders(manifest.settings(digest)), crew)
            before = ending
            ending = _carried_out(manifest, digest, place, orders, crew, rules, quiet=quiet)
            ending = ending.after(before)
            if ending.is_cut:
                break
        ending = replace(ending, counts=manifest.counts(), others=0)
        _conclude(manifest, place, ending, quiet=quiet, as_json=as_json)


def _crew(
    executor: str,
    workers: int | None,
    together: int | None,
    ray_address: str | None,
    gpus: float,
    per_job: int,
    slurm: list[str] | None,
) -> Crew:
    from guided_dip.batch.executors import Crew, parse_assignments

    asked = parse_assignments(slurm or [])
    return Crew(executor, workers, together, ray_address, gpus, per_job, asked)


def _absolute(path: Path | None) -> Path | None:
    """Return where a file is for other machines, too; what is not there is an error."""
    if path is None:
        return None
    from guided_dip.batch.find import absolute
    from guided_dip.images import read

    read(path)
    return absolute(path)


def _check(orders: Orders) -> None:
    """Refuse settings that no picture could be restored with."""
    from guided_dip.errors import InputError

    if orders.config.pages > 1:
        raise InputError("pages is for a single stack; try --joint")


def _carried_out(
    manifest: Manifest,
    digest: str,
    place: Place,
    orders: Orders,
    crew: Crew,
    rules: Rules,
    *,
    quiet: bool,
) -> Ending:
    from guided_dip.batch import call
    from guided_dip.batch.coordinator import Ending, requests
    from guided_dip.batch.executors import make_executor

    if not manifest.has_queued(digest) and rules.look is None:
        counts = manifest.counts()
        counts, others = replace(counts, queued=0), counts.queued
        return Ending(counts, 0, 0, others=others)
    with requests() as asked:
        executor, together = make_executor(crew, orders, place)
        rules = replace(rules, together=together)
        with batch_progress(quiet=quiet) as update:
            return call.carry_out_batch(manifest, digest, executor, place, rules, asked, update)


def _found(place: Place, enrolled: Enrolled) -> str:
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


def _conclude(
    manifest: Manifest, place: Place, ending: Ending, *, quiet: bool, as_json: bool
) -> None:
    """Say what came of it, and fail if not all is done."""
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
        first = f"{failures[0].name}: {failures[0].reason}"
        more = f" and {counts.failed - 1} more" * (counts.failed > 1)
        raise RunError(
            f"{counts.failed} of {counts.total} pictures failed: {first}{more}; "
            f"batch status {place.outdir} tells of them, batch retry begins them anew"
        )
