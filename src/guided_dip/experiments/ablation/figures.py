"""The figures of an ablation: what levels change, and how the PSNR goes on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guided_dip.experiments.ablation.line import Line
from guided_dip.experiments.ablation.statistics import Estimate, band_of
from guided_dip.experiments.ablation.table import POINTS, Curve
from guided_dip.plots.charts import FAINT

COLOURS = ("#1f4e79", "#c8553d", "#4c956c", "#8e6c8a", "#d4a017", "#4f86b5", "#7a7a7a")
WIDTH, COLUMNS = 11.0, 3
EFFECTS_HEIGHT, CURVES_HEIGHT = 3.4, 2.9
BESIDE = 4  # the most levels whose names lie among their curves
SMALL = 7.5
SPREAD = 0.5  # of the room between two levels
LETTERS = 90  # that fit under the wider axes
EDGE = 0.02  # of a run's end


@dataclass(frozen=True)
class Effect:
    """What a level of a factor changes on a base.

    Attributes
    ----------
    level
        Its name.
    lines
        Its runs.
    change
        Of the PSNR, against the base; None for the base itself.
    kept
        Part of the noise that is in the restoration.
    """

    level: str
    lines: tuple[Line, ...]
    change: Estimate | None
    kept: Estimate | None = None


Effects = Mapping[str, Sequence[Effect]]  # by base


def factor_figure(title: str, effects: Effects, curves: Mapping[str, Curve]) -> Figure:
    """Draw what the levels of a factor change, how much noise is kept, and how the PSNR goes.

    Parameters
    ----------
    title
        Over the figure.
    effects
        By base.
    curves
        By run's name.
    """
    columns = min(COLUMNS, len(effects))
    rows = -(-len(effects) // columns)
    figure = Figure(
        figsize=(WIDTH, EFFECTS_HEIGHT + CURVES_HEIGHT * rows + 0.5), layout="constrained"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold", parse_math=False)
    heights = [EFFECTS_HEIGHT, CURVES_HEIGHT * rows]
    halves = figure.add_gridspec(2, 1, height_ratios=heights)
    top = halves[0].subgridspec(1, 2, width_ratios=[2, 1])
    _draw_effects(figure.add_subplot(top[0]), effects)
    _draw_kept(figure.add_subplot(top[1]), effects)
    grid = halves[1].subgridspec(rows, columns)
    named = _levels(effects)
    colours = dict(zip(named, _shades(len(named)), strict=True))
    for place, (base, levels) in enumerate(effects.items()):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        axes.set_title(base, loc="left", fontsize=8.5, parse_math=False)
        _draw_curves(axes, {effect.level: effect.lines for effect in levels}, curves, colours)
    return figure


def bases_figure(
    title: str, panels: Mapping[str, Mapping[str, Sequence[Line]]], curves: Mapping[str, Curve]
) -> Figure:
    """Draw how the PSNR goes with each base, those that saw the same in one panel.

    Parameters
    ----------
    title
        Over the figure.
    panels
        By what they saw and by base.
    curves
        By run's name.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold", parse_math=False)
    for place, (saw, bases) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), place)
        axes.set_title(saw, loc="left", fontsize=9, parse_math=False)
        _draw_curves(axes, bases, curves, dict(zip(bases, cycle(COLOURS), strict=False)))
    return figure


def _draw_effects(axes: Axes, effects: Effects) -> None:
    """Draw the change of each level with its interval, a dot a picture, bases beside each other."""
    levels, count = _levels(effects), len(effects)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    for place, (base, each) in enumerate(effects.items()):
        colour = COLOURS[place % len(COLOURS)]
        shift = SPREAD * ((place + 0.5) / count - 0.5)
        known = [(levels.index(e.level) + shift, e.change) for e in each]
        for x, change in known:
            if change is not None:
                dots = list(change.by_picture.values())
                axes.scatter([x] * len(dots), dots, s=5, color=colour, alpha=0.45, linewidths=0)
        axes.errorbar(
            [x for x, _ in known],
            [0.0 if change is None else change.mean for _, change in known],
            yerr=[0.0 if change is None else change.half or 0.0 for _, change in known],
            color=colour,
            fmt="o",
            markersize=3.5,
            elinewidth=1.2,
            capsize=2,
            label=base,
        )
    _name_levels(axes, levels, LETTERS)
    axes.set_ylabel("change of PSNR (dB)", fontsize=8)
    _finish(axes)
    axes.legend(fontsize=SMALL, frameon=False, loc="best")


def _draw_kept(axes: Axes, effects: Effects) -> None:
    """Draw how much noise is kept with each level."""
    levels = _levels(effects)
    for place, each in enumerate(effects.values()):
        known = [(levels.index(e.level), 100 * e.kept.mean) for e in each if e.kept is not None]
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(*zip(*known, strict=True), "o-", color=colour, markersize=3.5, linewidth=0.8)
    _name_levels(axes, levels, LETTERS // 2)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel("noise kept (%)", fontsize=8)
    _finish(axes)


def _levels(effects: Effects) -> list[str]:
    return list(dict.fromkeys(effect.level for each in effects.values() for effect in each))


def _name_levels(axes: Axes, levels: Sequence[str], letters: int) -> None:
    """Write the levels under the axis, aslant where there is no room for so many letters."""
    axes.set_xticks(range(len(levels)), levels, fontsize=SMALL, parse_math=False)
    if max(map(len, levels)) * len(levels) > letters:
        axes.set_xticks(range(len(levels)), levels, rotation=20, ha="right", parse_math=False)
    axes.set_xlim(-0.5, len(levels) - 0.5)


def _draw_curves(
    axes: Axes,
    levels: Mapping[str, Sequence[Line]],
    curves: Mapping[str, Curve],
    colours: Mapping[str, str],
) -> None:
    """Draw mean curves with their intervals: over parts of the run, or steps where they differ."""
    steps = {line.steps for lines in levels.values() for line in lines}
    for level, lines in levels.items():
        if not lines:
            continue
        colour, band = colours[level], band_of(lines, curves)
        x = (np.arange(POINTS) + 0.5) / POINTS
        if len(steps) > 1:
            x = x * lines[0].steps
        axes.plot(x, band.mean, color=colour, linewidth=1.2, label=level)
        if band.half is not None:
            axes.fill_between(
                x, band.mean - band.half, band.mean + band.half, color=colour, alpha=0.13, lw=0
            )
        axes.plot(x[-1:], band.mean[-1:], "o", color=colour, markersize=3)
    if len(steps) > 1:
        axes.set_xscale("log")
        axes.set_xlabel("step", fontsize=8)
        axes.set_xlim(left=max(1.0, min(steps) * EDGE))
    else:
        axes.set_xlabel(f"part of the run ({next(iter(steps), 0)} steps)", fontsize=8)
    axes.set_ylabel("PSNR (dB)", fontsize=8)
    _leave_out_the_start(axes, levels, curves)
    _finish(axes)
    if len(levels) <= BESIDE:
        axes.legend(fontsize=6.5, frameon=False, loc="lower right")
    else:
        place = (0.5, -0.2)
        axes.legend(fontsize=6.5, frameon=False, loc="upper center", bbox_to_anchor=place, ncols=3)


def _leave_out_the_start(
    axes: Axes, levels: Mapping[str, Sequence[Line]], curves: Mapping[str, Curve]
) -> None:
    """Show what differs: the first tenth of a run rises from nothing."""
    means = [band_of(lines, curves).mean for lines in levels.values() if lines]
    low = min(float(mean[POINTS // 10 :].min()) for mean in means)
    high = max(float(mean.max()) for mean in means)
    room = max(0.08 * (high - low), 0.15)
    axes.set_ylim(low - 3 * room, high + 2 * room)


def _shades(count: int) -> list[str]:
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, max(count, 2)))
    return [matplotlib.colors.to_hex(shade) for shade in shades[:count]]


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="y", color=FAINT, linewidth=0.4, alpha=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
