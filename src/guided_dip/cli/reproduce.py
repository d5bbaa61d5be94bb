"""``guided-dip reproduce``: the report's experiment, its tables and figures, with one command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli import options
from guided_dip.cli.console import give, notes
from guided_dip.cli.progress import EVERY
from guided_dip.cli.settings import make_settings
from guided_dip.cli.study import (
    AsJson,
    Redraw,
    Workers,
    check_any,
    check_failures,
    listed,
    study_progress,
)

if TYPE_CHECKING:
    from guided_dip.experiments.board import Outcome

# What has options of its own here, for it differs between the runs of a study.
AXES = {
    "backbone": "--rows",
    "schedule": "--rows",
    "supervision": "--supervision",
    "noise_convention": "--noise-convention",
    "seed": "--seeds",
}


def reproduce(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The study: runs and page.")
    ],
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A clean picture.  [default: one of scikit-image's]"),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Runs of each row.")] = 1,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="report (as its text has it) or author (its code).")
    ] = "report",
    rows: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Rows, such as dip-unet,unet-cosine, or words of them, such as unet or cosine.  "
            "[default: all six]",
        ),
    ] = "",
    supervision: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="Supervisions to compare, such as clean-guides,observation-guides."
        ),
    ] = "clean-guides",
    noise_convention: Annotated[
        str, typer.Option(metavar="LIST", help="Noise conventions: offset, centred, unbiased.")
    ] = "offset",
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Iterations of each run.  [default: 2000]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="auto, float32 or bfloat16.  [default: float32]"),
    ] = None,
    assignments: options.Assignments = None,
    workers: Workers = None,
    together: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=64,
            help="Compute up to N seeds of a row as one, which is sooner done for small networks.",
        ),
    ] = 1,
    redraw: Redraw = False,
    no_pictures: Annotated[
        bool,
        typer.Option("--no-pictures", help="Leave the picture and its restorations out."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a study of something else.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Repeat the report's experiment. An interrupted study goes on; a finished run is kept."""
    from guided_dip.experiments import report

    outcomes: tuple[Outcome, ...] = ()
    with notes(quiet=quiet):
        if redraw:
            report.check_study_folder(output, None)
        else:
            from guided_dip.experiments.rows import make_arms, select_rows

            given = {"steps": steps, "device": device, "precision": precision}
            settings = _settings(given, preset, assignments or [])
            source, pixels = report.open_picture(image)
            study = report.Study(
                preset=preset, settings=settings, picture=source.name, sha256=source.sha256
            )
            arms = make_arms(listed(supervision), listed(noise_convention))
            specs = report.make_specs(study, select_rows(listed(rows)), arms, seeds)
            report.check_study_folder(output, study, overwrite=overwrite)
            inputs = report.make_inputs(source, pixels, study)
            with study_progress(quiet=quiet, every=EVERY) as update:
                outcomes = report.reproduce(
                    study,
                    specs,
                    inputs,
                    output,
                    workers=workers,
                    together=together,
                    on_progress=update,
                )
        check_any(outcomes)
        results = _draw(output, pictures=not no_pictures)
    if as_json:
        give(json.dumps(results))
    elif not quiet:
        give(_conclusion(output, results))
    check_failures(outcomes)


def _settings(given: dict[str, Any], preset: str, assignments: Sequence[str]) -> dict[str, Any]:
    """Return what the options change of the preset."""
    from guided_dip.errors import InputError

    wanted = make_settings(given, preset=preset, file=None, assignments=assignments).model_dump()
    base = make_settings({}, preset=preset, file=None, assignments=[]).model_dump()
    changed = {key: value for key, value in wanted.items() if value != base[key]}
    for key in AXES:
        if key in changed:
            raise InputError(f"--set {key}: differs between the rows; try {AXES[key]}")
    return changed


def _draw(folder: Path, *, pictures: bool) -> dict[str, Any]:
    from guided_dip.experiments.page import draw_page

    return draw_page(folder, pictures=pictures)


def _conclusion(folder: Path, results: dict[str, Any]) -> str:
    lines = []
    for arm in results["arms"]:
        lines.append(f"{arm['arm']} ({arm['saw']}):")
        for row in arm["rows"]:
            finals = [run["final_psnr"] for run in row["runs"]]
            mean = sum(finals) / len(finals)
            said = f", report {row['reported']['final_psnr']:.2f}" if row["reported"] else ""
            lines.append(f"  {row['row']:<14}final PSNR {mean:.2f} dB{said}")
        verdicts = [f"({claim['claim']}) {claim['verdict']}" for claim in arm["claims"]]
        lines.append(f"  claims: {', '.join(verdicts)}")
    return "\n".join([*lines, f"{folder / 'report.html'}: the page"])
