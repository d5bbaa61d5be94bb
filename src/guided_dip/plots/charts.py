"""Figures made of lines and bars: the curves of a run, the plan."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guided_dip.diffusion import Schedule
from guided_dip.guidance import Plan, Stage
from guided_dip.result import Record

LOSS, PSNR, BAR, FAINT = "#1f4e79", "#c8553d", "#4f86b5", "#b9c0c7"
CURVES_SIZE = (10.0, 4.6)
CHART_SIZE = (11.0, 4.8)
MOST_LABELS = 24  # stages whose labels fit beside each other
LABEL_ROOM = 0.022  # of the width of the axes, for one upright label
SMALL = 7.5
FEWEST_BARS = 5
UNDER = 7  # points between the axis and the table under it


def curves(records: Sequence[Record], plan: Plan, *, title: str = "") -> Figure:
    """Draw the loss of each step and, where there is a clean image, the PSNR; stages are marked.

    Parameters
    ----------
    records
        One a step.
    plan
        Its stages.
    title
        Over the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=CURVES_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=10, weight="bold", parse_math=False)
    steps = [record.step for record in records]
    axes.plot(steps, [record.loss for record in records], color=LOSS, linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xlim(0, max(1, steps[-1]))
    axes.set_xlabel("step")
    axes.set_ylabel("loss (mean squared error with the target)", color=LOSS)
    axes.tick_params(axis="y", which="both", colors=LOSS)
    axes.spines["top"].set_color(FAINT)
    _mark_stages(axes, plan, steps[-1] + 1)
    scored = [(record.step, record.psnr) for record in records if record.psnr is not None]
    if scored:
        twin = axes.twinx()
        twin.plot(*zip(*scored, strict=True), color=PSNR, linewidth=0.8)
        twin.set_ylabel("PSNR of the raw output (dB)", color=PSNR)
        twin.tick_params(axis="y", colors=PSNR)
        twin.spines["top"].set_visible(False)
    return figure


def _mark_stages(axes: Axes, plan: Plan, steps: int) -> None:
    """Draw a thin line where each stage begins, and its timestep over its middle."""
    stages = [
        (stage, first)
        for stage, first in zip(plan, plan.boundaries, strict=True)
        if stage.steps and first < steps
    ]
    for _, first in stages[1:]:
        axes.axvline(first, color=FAINT, linewidth=0.6, zorder=0)
    named = [(_name(stage), first + min(stage.steps, steps - first) / 2) for stage, first in stages]
    named = [(name, middle) for name, middle in named if name]
    if not named:
        return
    kept: list[tuple[str, float]] = []
    for name, middle in named:
        if not kept or middle - kept[-1][1] >= LABEL_ROOM * steps:
            kept.append((name, middle))
    top = axes.secondary_xaxis("top")
    top.set_xticks([middle for _, middle in kept], [name for name, _ in kept])
    gaps = [right - left for (_, left), (_, right) in pairwise(kept)]
    narrow = min(gaps, default=steps) < 2 * LABEL_ROOM * steps
    top.tick_params(axis="x", length=0, labelsize=SMALL, rotation=90 if narrow else 0)
    with_t = stages[0][0].t is not None
    top.set_xlabel(
        "timestep t of the guide" if with_t else "strength a of the recorruption", fontsize=SMALL
    )


def _name(stage: Stage) -> str:
    if stage.t is not None:
        return str(stage.t)
    return "" if stage.a is None else f"{stage.a:.2f}"


def plan_chart(plan: Plan, schedule: Schedule, *, title: str = "") -> Figure:
    """Draw the plan: the iterations of each guide as bars, from most to least noisy.

    Under each bar stand the guide's timestep, noise rate, noise level and strength, where it has
    them.

    Parameters
    ----------
    plan
        The plan.
    schedule
        The beta schedule that the plan was made with.
    title
        Over the figure; None means what the plan is.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=CHART_SIZE, layout="constrained")
    axes = figure.add_subplot()
    default = f"{plan.supervision}, {plan.schedule} schedule, {plan.steps} iterations"
    axes.set_title(title or default, loc="left", fontsize=10, weight="bold", parse_math=False)
    heights = [stage.steps for stage in plan]
    count = len(heights)
    axes.bar(range(count), heights, width=0.75, color=BAR)
    axes.set_ylabel("iterations")
    # Room for the table's heads; and a few bars are kept from being walls.
    spare = max(0.02 * count, (FEWEST_BARS - count) / 2)
    axes.set_xlim(-0.5 - spare, count - 0.5 + spare)
    axes.margins(y=0.1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    shown = sorted({round(k) for k in np.linspace(0, count - 1, min(count, MOST_LABELS))})
    for place in shown:
        axes.annotate(
            str(heights[place]),
            (place, heights[place]),
            (0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL,
        )
    _write_under(axes, _rows(plan, schedule), shown)
    return figure


def _write_under(axes: Axes, rows: dict[str, list[str]], shown: Sequence[int]) -> None:
    """Write a small table under the bars: the heads of its lines at the left."""
    cells = ["\n".join(line[place] for line in rows.values()) for place in shown]
    axes.set_xticks(shown, cells, fontsize=SMALL, linespacing=1.5)
    axes.tick_params(axis="x", length=0, pad=UNDER)
    axes.annotate(
        "\n".join(rows),
        (0, 0),
        (-6, -UNDER),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=SMALL,
        linespacing=1.5,
    )


def _rows(plan: Plan, schedule: Schedule) -> dict[str, list[str]]:
    """Return the lines under the bars: a head, and a cell a stage."""
    rows: dict[str, list[str]] = {}
    if any(stage.t is not None for stage in plan):
        rows["t"] = ["" if stage.t is None else str(stage.t) for stage in plan]
        rows["β (10⁻³)"] = [
            "" if stage.t is None else f"{schedule.beta[stage.t] * 1e3:.2f}" for stage in plan
        ]
    if any(stage.sigma is not None for stage in plan):
        rows["\N{GREEK SMALL LETTER SIGMA} (of 255)"] = [
            "" if stage.sigma is None else f"{stage.sigma * 255:.1f}" for stage in plan
        ]
    if any(stage.a is not None for stage in plan):
        rows["a"] = ["" if stage.a is None else f"{stage.a:.2f}" for stage in plan]
    return rows or {"": [f"stage {number}" for number in range(1, len(plan) + 1)]}
