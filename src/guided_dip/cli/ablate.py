"""``guided-dip ablate``: what of a method matters, one factor at a time or in any grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli import options
from guided_dip.cli.console import give, notes
from guided_dip.cli.progress import EVERY
from guided_dip.cli.study import AsJson, Redraw, check_any, check_failures, listed, study_progress

if TYPE_CHECKING:
    from guided_dip.experiments.ablation.design import Ablation
    from guided_dip.experiments.ablation.runs import AblationStudy
    from guided_dip.experiments.board import Outcome, Progress
    from guided_dip.experiments.runner import RunSpec


def ablate(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The ablation: runs, tables and page."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What is varied, in YAML.  [default: what --print shows]"
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            metavar="FILE",
            help="A clean picture; may be repeated.  [default: three of scikit-image's]",
        ),
    ] = None,
    bases: Annotated[
        str, typer.Option(metavar="LIST", help="Run these bases only.  [default: all]")
    ] = "",
    factors: Annotated[
        str, typer.Option(metavar="LIST", help="Run these factors only.  [default: all]")
    ] = "",
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1000, help="Runs of each.  [default: the file's]"),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            metavar="PIXELS",
            min=16,
            max=1024,
            help="Side to which each picture's largest square is brought.",
        ),
    ] = 128,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of every run; may be repeated."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Processes at once.  [default: one a GPU, else one a core]"
        ),
    ] = None,
    together: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=64,
            help="Compute up to N runs that differ in seed or picture as one, which is sooner done "
            "for small networks.",
        ),
    ] = 12,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell how many runs there would be; run nothing.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Print the file that is run by default, to change it.")
    ] = False,
    redraw: Redraw = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an ablation of something else.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find out what of a method matters. An interrupted ablation goes on; done runs are kept."""
    if show:
        from guided_dip.experiments.ablation.design import SHIPPED

        give(SHIPPED.read_text(encoding="utf-8").rstrip("\n"))
        return
    from guided_dip.experiments.ablation import runs, table
    from guided_dip.experiments.ablation.design import select

    outcomes: tuple[Outcome, ...] = ()
    with notes(quiet=quiet):
        if redraw:
            study = _redrawn(_folder(output), file)
        else:
            ablation = _ablation(file, assignments or [])
            cells = select(ablation, listed(bases), listed(factors))
            pictures = runs.open_pictures(images or [], size)
            keys = [picture.key for picture in pictures]
            specs = runs.make_specs(ablation, cells, keys, seeds or ablation.seeds)
            if dry_run:
                give(_told(specs, keys, size))
                return
            study = runs.check_ablation_folder(
                _folder(output), runs.study_of(ablation, pictures, size), overwrite=overwrite
            )
            with study_progress(quiet=quiet, every=EVERY) as update:
                outcomes = runs.run_ablation(
                    study,
                    specs,
                    runs.make_inputs(pictures, ablation.sigma),
                    _folder(output),
                    known=table.known_digests(_folder(output)),
                    workers=workers,
                    together=together,
                    on_progress=update,
                )
        check_any(outcomes)
        with study_progress(quiet=quiet) as reading:
            results = _draw(study, _folder(output), reading)
    if as_json:
        give(json.dumps(results))
    elif not quiet:
        give(_conclusion(_folder(output), results))
    check_failures(outcomes)


def _folder(output: Path | None) -> Path:
    from guided_dip.errors import InputError

    if output is None:
        raise InputError("there is no folder to work in: try -o FOLDER")
    return output


def _ablation(file: Path | None, assignments: Sequence[str]) -> Ablation:
    from guided_dip.experiments.ablation.design import load_ablation
    from guided_dip.jobs.asked import assigned

    ablation = load_ablation(file)
    return ablation.with_settings(assigned(assignments, "--set")) if assignments else ablation


def _redrawn(folder: Path, file: Path | None) -> AblationStudy:
    """Return the ablation of a folder, as a file now words it."""
    from guided_dip.experiments.ablation import runs

    study = runs.load_study(folder)
    if file is None:
        return study
    worded = study.model_copy(update={"ablation": _ablation(file, [])})
    return runs.check_ablation_folder(folder, worded)


def _draw(
    study: AblationStudy, folder: Path, on_progress: Callable[[Progress], None]
) -> dict[str, Any]:
    from guided_dip.experiments.ablation import table
    from guided_dip.experiments.ablation.page import draw_page

    return draw_page(study, table.results_in(study, folder, on_progress), folder)


def _told(specs: Sequence[RunSpec], pictures: Sequence[str], side: int) -> str:
    from guided_dip.config import fill_in

    steps = sum(fill_in(spec.config, size=(side, side)).steps or 0 for spec in specs)
    return f"{len(specs)} runs, {steps} steps in all, on {', '.join(pictures)}"


def _conclusion(folder: Path, results: dict[str, Any]) -> str:
    lines = [
        f"{base:<20}{found['mean']:6.2f} dB" for base, found in results["bases"].items() if found
    ]
    lines += [f"{a['claim'].rstrip('.')}: {a['verdict']}" for a in results["claims"]]
    return "\n".join([*lines, f"{folder / 'ablation.html'}: the page"])
