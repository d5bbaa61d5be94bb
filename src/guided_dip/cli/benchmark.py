"""``guided-dip benchmark``: every method on the identical noisy pictures, and a page of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli import options
from guided_dip.cli.console import give, notes
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


def benchmark(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="The benchmark: records, runs, page."),
    ],
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET_DIR",
            help="Clean pictures, or real pairs: subfolders raw and gt, or NAME_real and NAME_mean "
            "side by side.",
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="NOISE", help="Noise to add, such as gaussian:25.  [default: real pairs]"
        ),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Such as fast,dip,nlm.  [default: balanced,dip,dip-peak,nlm,tv,wavelet and, where "
            "it is installed, bm3d]",
        ),
    ] = "",
    images: Annotated[
        str, typer.Option(metavar="LIST", help="Names without suffix.  [default: all]")
    ] = "",
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Repetitions, of the noise as well.")
    ] = 1,
    noise_told: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="What methods are told of the noise: exact, auto (estimated) or a factor such as "
            "1.1.  [default: exact; auto for real pairs]",
        ),
    ] = None,
    eight_bit: Annotated[
        bool, typer.Option("--eight-bit", help="Clip the noisy pictures and round them to 8 bits.")
    ] = False,
    steps_factor: Annotated[
        float, typer.Option(metavar="F", help="Take F times the usual number of steps.")
    ] = 1.0,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any setting, in all methods that have settings."
        ),
    ] = None,
    workers: Workers = None,
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Records to go on from and to add to, one JSON object a line."
        ),
    ] = None,
    redraw: Redraw = False,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Leave the restorations out.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove a benchmark of something else.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods on the same noisy pictures. An interrupted benchmark goes on."""
    from guided_dip.experiments import benchmark_study as study

    outcomes: tuple[Outcome, ...] = ()
    with notes(quiet=quiet):
        if redraw:
            study.check_benchmark_folder(output, None)
        else:
            shared = study.make_benchmark(
                _named(dataset),
                noise=noise,
                told=noise_told,
                eight_bit=eight_bit,
                steps_factor=steps_factor,
                settings=_changed(assignments or []),
            )
            study.check_benchmark_folder(output, shared, overwrite=overwrite)
            _check_file(records)
            from guided_dip.experiments.benchmark import run_benchmark
            from guided_dip.experiments.benchmark_jobs import make_jobs
            from guided_dip.experiments.dataset import find_scenes
            from guided_dip.experiments.methods import select_methods

            wanted = select_methods(listed(methods))
            scenes = find_scenes(_named(dataset), pairs=noise is None, names=listed(images))
            jobs = make_jobs(shared, wanted, scenes, seeds)
            with study_progress(quiet=quiet) as update:
                outcomes = run_benchmark(
                    shared, jobs, output, records=records, workers=workers, on_progress=update
                )
        check_any(outcomes)
        results = _draw(output, records, pictures=not no_pictures)
    if as_json:
        give(json.dumps(results))
    elif not quiet:
        give(_conclusion(output, results))
    check_failures(outcomes)


def _named(dataset: Path | None) -> Path:
    from guided_dip.errors import InputError

    if dataset is None:
        raise InputError("no DATASET_DIR is given: try a folder of pictures, or --redraw")
    return dataset


def _changed(assignments: Sequence[str]) -> dict[str, Any]:
    """Return the settings that are assigned, validated."""
    made = make_settings({}, preset=None, file=None, assignments=assignments)
    return made.model_dump(mode="json", include=made.model_fields_set)


def _check_file(records: Path | None) -> None:
    """Refuse a place for records where none can be, before an hour of computing."""
    from guided_dip.errors import InputError

    if records is not None and not records.parent.is_dir():
        folder = records.parent
        raise InputError(f"{records}: there is no folder '{folder}'; try creating it")


def _draw(folder: Path, records: Path | None, *, pictures: bool) -> dict[str, Any]:
    from guided_dip.experiments.benchmark_page import draw_benchmark

    return draw_benchmark(folder, records=records, pictures=pictures)


def _conclusion(folder: Path, results: dict[str, Any]) -> str:
    lines = []
    for oracle in (False, True):
        of_kind = [method for method in results["methods"] if method["oracle"] is oracle]
        if of_kind:
            lines.append(f"methods that {of_kind[0]['saw']}:")
        for method in of_kind:
            over = f"over {method['pictures']} picture{'s' * (method['pictures'] > 1)}"
            lines.append(f"  {method['method']:<20}PSNR {float(method['psnr'][0]):.2f} dB {over}")
    return "\n".join([*lines, f"{folder / 'benchmark.html'}: the page"])
