"""``guided-dip plan``: which guides a run is fitted to, for how many iterations each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli.console import give

if TYPE_CHECKING:
    from guided_dip.guidance import Plan, Stage

# (steps, count) where they are not given: the report's, and what recorrupted guides begin with.
REPORT = (2000, 20)
RECORRUPTED = (1500, 5)
BAR = 24  # characters


def plan(
    schedule: Annotated[
        str, typer.Option(metavar="NAME", help="Beta schedule: cosine, linear or sigmoid.")
    ] = "cosine",
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Iterations in all  [default: 2000; recorrupted: 1500]"),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of guides  [default: 20; recorrupted: 5]"),
    ] = None,
    start: Annotated[
        int, typer.Option(metavar="T", help="Timestep of the most noisy guide.")
    ] = 500,
    end: Annotated[int, typer.Option(metavar="T", help="Timestep of the least noisy guide.")] = 40,
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="C", help="c of the iteration generator  [default: 400 cosine, 250 linear]"
        ),
    ] = None,
    supervision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="observation, clean-guides, observation-guides or recorrupted-guides; the last "
            "two need --noise.",
        ),
    ] = "clean-guides",
    noise: Annotated[
        str | None, typer.Option(metavar="gaussian:SIGMA", help="Noise, SIGMA of 255.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the plan as a chart, too.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --plot replace a file.")
    ] = False,
) -> None:
    """Show the plan: each guide's timestep and iterations. By default the report's."""
    from guided_dip.diffusion import LOWER_CLIP, make_schedule
    from guided_dip.guidance import make_plan

    if plot is not None:
        from guided_dip.plots import check_figure_file

        check_figure_file(plot, overwrite=overwrite)
    usual = RECORRUPTED if supervision == "recorrupted-guides" else REPORT
    betas = make_schedule(schedule, lower_clip=LOWER_CLIP)
    made = make_plan(
        supervision,
        betas,
        steps=usual[0] if steps is None else steps,
        count=usual[1] if count is None else count,
        start=start,
        end=end,
        scale=scale,
        sigma=_sigma(noise),
    )
    if plot is not None:
        from guided_dip.plots import plan_chart, save

        save(plan_chart(made, betas), plot)
    give(json.dumps(_as_dict(made)) if as_json else table(made))


def _as_dict(plan: Plan) -> dict[str, Any]:
    return plan.as_dict() | {"first_steps": list(plan.boundaries)}


def _sigma(noise: str | None) -> float | None:
    if noise is None:
        return None
    from guided_dip.errors import InputError
    from guided_dip.noise import parse_noise

    model = parse_noise(noise)
    if model is None:
        raise InputError("a plan has no image to estimate noise from: give it, as in gaussian:25")
    return model.sigma


def table(plan: Plan) -> str:
    """Return the plan as an aligned table, a line a stage.

    Parameters
    ----------
    plan
        The plan.
    """
    with_a = any(stage.a is not None for stage in plan)
    heads = ["stage", "t", "iterations", "first step", "sigma (of 255)", *["a"] * with_a]
    rows = [
        [str(number), *_cells(stage, first, with_a=with_a)]
        for number, (stage, first) in enumerate(zip(plan, plan.boundaries, strict=True), start=1)
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    most = max(1, *(stage.steps for stage in plan))
    bars = ["#" * round(BAR * stage.steps / most) for stage in plan]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), bar])
        for row, bar in zip([heads, *rows], ["", *bars], strict=True)
    ]
    title = f"{plan.supervision}, {plan.schedule} schedule, {plan.steps} iterations"
    return "\n".join([title, *(line.rstrip() for line in lines)])


def _cells(stage: Stage, first: int, *, with_a: bool) -> list[str]:
    cells = [
        "-" if stage.t is None else str(stage.t),
        str(stage.steps),
        str(first) if stage.steps else "-",
        "-" if stage.sigma is None else f"{stage.sigma * 255:.2f}",
    ]
    return [*cells, "-" if stage.a is None else f"{stage.a:.3f}"] if with_a else cells
