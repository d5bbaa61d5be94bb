"""``guided-dip batch``: thousands of pictures, and ``batch status``, ``retry`` and ``report``."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli import options
from guided_dip.cli.batch_call import (
    SHOWN,
    absolute_file,
    carried_out,
    check_orders,
    conclude,
    crew_of,
    found,
)
from guided_dip.cli.console import give, notes, tell
from guided_dip.cli.many import counted_progress, per_hour, told
from guided_dip.cli.settings import make_settings
from guided_dip.jobs.asked import of_the_task
from guided_dip.jobs.beside import kernel_of
from guided_dip.words import of_file

if TYPE_CHECKING:
    from guided_dip.batch.reading import Reading

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
    from guided_dip.batch.executors import threaded
    from guided_dip.batch.find import output_suffix
    from guided_dip.batch.place import Place, parse_shard
    from guided_dip.batch.progress import Rules
    from guided_dip.batch.work import Orders

    crew = crew_of(executor, workers, together, ray_address, gpus, per_job, slurm)
    orders = Orders(
        settings,
        mask=absolute_file(mask),
        kernel=absolute_file(kernel_of(kernel)[1]),
        gain=absolute_file(gain),
        invert_mask=invert_mask,
        joint=joint,
        max_pixels=max_pixels,
        checkpoint_every=checkpoint_every,
        keep_runs=keep_runs,
    )
    orders = threaded(orders, crew)
    check_orders(orders)
    sources = call.Sources(inputs, root, output_suffix(form), not flat)
    part = None if shard is None else parse_shard(shard)
    tree = call.root_of(sources)
    place = Place(call.make_outdir(output), part)
    with notes(quiet=quiet), call.opened(place, tree) as manifest:
        if root is not None and manifest.root != tree:
            manifest.root = tree
        digest = call.keep_orders(manifest, orders, overwrite=overwrite)
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
            tell(found(place, enrolled))
        rules = Rules(
            fail_fast=fail_fast,
            overwrite=overwrite,
            look=partial(call.look, manifest, place, sources, digest) if watch else None,
            look_every=watch_every,
        )
        ending = carried_out(manifest, digest, place, orders, crew, rules, quiet=quiet)
        conclude(manifest, place, ending, quiet=quiet, as_json=as_json)


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
    lines += [f"  failed: {of_file(entry.name, entry.reason)}" for entry in failed]
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
    from guided_dip.batch.executors import threaded
    from guided_dip.batch.find import absolute
    from guided_dip.batch.place import Place, parse_shard
    from guided_dip.batch.progress import Ending, Rules

    crew = crew_of(executor, workers, together, ray_address, gpus, per_job, slurm)
    part = None if shard is None else parse_shard(shard)
    place = Place(absolute(outdir), part)
    with notes(quiet=quiet), call.opened(place) as manifest:
        count = manifest.retry_failed()
        if not quiet:
            tell(f"{place.outdir}: {count} that failed and {manifest.counts().left - count} others")
        ending = Ending(manifest.counts(), 0, 0)
        for digest in manifest.queued_settings():
            kept = manifest.settings(digest)
            orders = threaded(call.kept_orders(kept), crew)
            rules = Rules(fail_fast=fail_fast, overwrite=kept.get("overwrite") is True)
            before = ending
            ending = carried_out(manifest, digest, place, orders, crew, rules, quiet=quiet)
            ending = ending.after(before)
            if ending.is_cut:
                break
        ending = replace(ending, counts=manifest.counts(), others=0)
        conclude(manifest, place, ending, quiet=quiet, as_json=as_json)
