"""``guided-dip restore``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from guided_dip.cli import options
from guided_dip.cli.job import carry_out
from guided_dip.cli.settings import make_settings
from guided_dip.jobs.asked import check_joint, of_the_task
from guided_dip.jobs.beside import kernel_of
from guided_dip.jobs.job import Job
from guided_dip.region import parse_region


def restore(
    image: Annotated[Path, typer.Argument(metavar="IN", help="The degraded picture.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Where the restored picture goes."),
    ] = None,
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
    stopping: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Early-stopping rule to compare with: none, es-wmv or es-emv.  [default: none]",
        ),
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    effort: options.Effort = None,
    preset: options.Preset = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    clean: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The clean picture, to score with and nothing else."),
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the run: config, records, summary, plots."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on with the interrupted run in this folder."),
    ] = None,
    strength: options.Strength = None,
    time_budget: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Take no more steps than fit into this time."),
    ] = None,
    max_memory: options.MaxMemory = None,
    page: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Only this page of a TIFF file, or this HDU of a FITS file."
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT", help="Restore only this part; the rest stays as it is."
        ),
    ] = None,
    joint: options.Joint = False,
    nan_as_missing: options.NanAsMissing = False,
    max_pixels: options.MaxPixels = None,
    checkpoint_every: options.CheckpointEvery = 60.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file or a run that exists.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout.")
    ] = False,
) -> None:
    """Restore one picture. Presets give way to --config, that to options, they to --set."""
    values: dict[str, Any] = {
        **of_the_task(task, mask=mask, scale=scale, kernel=kernel, gain=gain),
        "noise": noise,
        "white": white,
        "supervision": supervision,
        "backbone": backbone,
        "schedule": schedule,
        "steps": steps,
        "stopping": stopping,
        "seed": seed,
        "device": device,
        "effort": effort,
        "strength": strength,
        "nan_as_missing": nan_as_missing or None,
        "max_memory": max_memory,
    }
    from guided_dip.jobs.pages import page_count

    pages = 1 if page is not None else page_count(image, resume)
    if joint and resume is None:
        check_joint(image, page, pages if image.is_file() else None)
        values["pages"] = pages
    settings = None
    if resume is None:
        settings = make_settings(values, preset=preset, file=config, assignments=assignments or [])
    else:
        others: dict[str, Any] = {
            "preset": preset,
            "config": config,
            "set": assignments,
            "page": page,
            "region": region,
        }
        others |= {"time_budget": time_budget, "run_dir": run_dir, "joint": joint or None}
        others |= {"task": task, "mask": mask, "scale": scale, "kernel": kernel, "gain": gain}
        _check_alone({**values, "enlarge": None, **others, "invert_mask": invert_mask or None})
    job = Job(
        image,
        output,
        clean,
        run_dir,
        resume=resume,
        page=page,
        region=None if region is None else parse_region(region),
        mask=mask,
        invert_mask=invert_mask,
        kernel=kernel_of(kernel)[1],
        gain=gain,
        max_pixels=max_pixels,
        checkpoint_every=checkpoint_every,
        time_budget=time_budget,
        overwrite=overwrite,
    )
    together = settings is not None and settings.pages > 1
    carry_out(job, settings, pages=1 if together else pages, quiet=quiet, as_json=as_json)


def _check_alone(options: dict[str, Any]) -> None:
    """Refuse settings beside --resume: the run has its own."""
    from guided_dip.errors import InputError

    for name, value in options.items():
        if value is not None and value != []:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"--resume goes on with the run's own settings; leave out {option}")
