"""The figures of an ablation: what levels change, and how the PSNR goes on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guided_dip.experiments.ablation.line import Line
from guided_dip.experiments.ablation.statistics import Estimate, band_of, mean_of
from guided_dip.experiments.ablation.table import POINTS, Curve
from guided_dip.plots.charts import FAINT

COLOURS = ("#1f4e79", "#c8553d", "#4c956c", "#8e6c8a", "#d4a017", "#4f86b5", "#7a7a7a")
WIDTH, COLUMNS = 11.0, 3
EFFECTS_HEIGHT, CURVES_HEIGHT = 3.4, 2.9
BESIDE = 4  # the most levels whose names lie among their curves
SMALL = 7.5
SPREAD = 0.5  # of the room between two levels
LETTERS = 66  # that fit under the wider axes
EDGE = 0.02  # of a run's end
FAR = 4.0  # times the usual, or the least of note: what is beyond is pointed at
LEAST = 0.1  # dB
OTHER = 0.05  # dB between the last step and the restoration that are worth showing
STYLES = ("-", "--", "-.", ":")
MINUS = "\N{MINUS SIGN}"
_UNCHANGED = Estimate(0.0, {}, None, None, 0)  # a base against itself


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
    dropped
        What the trend of the PSNR has lost at the run's end, in dB.
    kept
        Part of the noise that is in the restoration.
    """

    level: str
    lines: tuple[Line, ...]
    change: Estimate | None
    dropped: Estimate | None = None
    kept: Estimate | None = None


Effects = Mapping[str, Sequence[Effect]]  # by base
# By what they saw, by network and by base.
Panels = Mapping[str, Mapping[str, Mapping[str, Sequence[Line]]]]


def factor_figure(title: str, effects: Effects, curves: Mapping[str, Curve]) -> Figure:
    """Draw what a factor's levels change, lose at the end and keep of the noise; how the PSNR goes.

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
    top = halves[0].subgridspec(1, 3, width_ratios=[2, 1, 1])
    _draw_effects(figure.add_subplot(top[0]), effects)
    _draw_dropped(figure.add_subplot(top[1]), effects)
    _draw_kept(figure.add_subplot(top[2]), effects)
    grid = halves[1].subgridspec(rows, columns)
    named = _levels(effects)
    looks = dict(zip(named, zip(_shades(named), cycle(STYLES), strict=False), strict=True))
    for place, (base, levels) in enumerate(effects.items()):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        axes.set_title(base, loc="left", fontsize=8.5, parse_math=False)
        _draw_curves(axes, {effect.level: effect.lines for effect in levels}, curves, looks)
    return figure


def bases_figure(title: str, panels: Panels, curves: Mapping[str, Curve]) -> Figure:
    """Draw how the PSNR goes with each base, those of a network that saw the same in one panel.

    Parameters
    ----------
    title
        Over the figure.
    panels
        By what they saw, by their network and by base.
    curves
        By run's name.
    """
    columns = max(map(len, panels.values()))
    figure = Figure(figsize=(WIDTH, 3.6 * len(panels)), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold", parse_math=False)
    grid = figure.add_gridspec(len(panels), columns)
    for row, (saw, networks) in enumerate(panels.items()):
        for column, (network, bases) in enumerate(networks.items()):
            axes = figure.add_subplot(grid[row, column])
            axes.set_title(f"{network}, {saw}", loc="left", fontsize=9, parse_math=False)
            looks = zip(cycle(COLOURS), cycle(STYLES), strict=False)
            _draw_curves(axes, bases, curves, dict(zip(bases, looks, strict=False)))
    return figure


def _draw_effects(axes: Axes, effects: Effects) -> None:
    """Draw the change of each level with its interval, a dot a picture, bases beside each other."""
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    _draw_intervals(
        axes,
        {
            base: [_UNCHANGED if e.change is None else e.change for e in each]
            for base, each in effects.items()
        },
        effects,
        lambda change: f"{change:+.1f}".replace("-", MINUS),
        dots=True,
        markersize=3.5,
        elinewidth=1.2,
        capsize=2,
    )
    _name_levels(axes, _levels(effects), LETTERS)
    axes.set_ylabel("change of PSNR (dB)", fontsize=8)
    _finish(axes)
    axes.legend(fontsize=SMALL, frameon=False, loc="best")


def _draw_dropped(axes: Axes, effects: Effects) -> None:
    """Draw what each level has lost at its end, with the interval."""
    dropped = {base: [e.dropped for e in each] for base, each in effects.items()}
    _draw_intervals(axes, dropped, effects, "{:.1f}".format, markersize=3, elinewidth=1.0)
    _name_levels(axes, _levels(effects), LETTERS // 3)
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("lost at the end (dB)", fontsize=8)
    _finish(axes)


def _draw_intervals(
    axes: Axes,
    numbers: Mapping[str, Sequence[Estimate | None]],
    effects: Effects,
    told: Callable[[float], str],
    *,
    dots: bool = False,
    **style: Any,
) -> None:
    """Draw a number of each effect with its interval, and point at those that are far away."""
    levels, count = _levels(effects), len(effects)
    far = _far([each for of in numbers.values() for each in of])
    for place, (base, each) in enumerate(effects.items()):
        colour = COLOURS[place % len(COLOURS)]
        shift = SPREAD * ((place + 0.5) / count - 0.5)
        known = [
            (levels.index(effect.level) + shift, found)
            for effect, found in zip(each, numbers[base], strict=True)
            if found is not None
        ]
        near = [(x, found) for x, found in known if found not in far]
        for x, found in near if dots else ():
            values = list(found.by_picture.values())
            axes.scatter([x] * len(values), values, s=5, color=colour, alpha=0.45, linewidths=0)
        axes.errorbar(
            [x for x, _ in near],
            [found.mean for _, found in near],
            yerr=[found.half or 0.0 for _, found in near],
            color=colour,
            fmt="o",
            label=base,
            **style,
        )
        for x, found in known:
            if found in far:
                _point_beyond(axes, x, told(found.mean), colour, place)


def _far(found: Sequence[Estimate | None]) -> list[Estimate]:
    """Return what is so much larger than the others that these could not be seen beside it."""
    known = [each for each in found if each is not None and each is not _UNCHANGED]
    usual = float(np.median([abs(each.mean) + (each.half or 0.0) for each in known] or [0.0]))
    limit = FAR * max(usual, LEAST)
    far = [each for each in known if abs(each.mean) - (each.half or 0.0) > limit]
    near = [abs(each.mean) + (each.half or 0.0) for each in known if each not in far]
    shown = max(near, default=0.0)
    return [each for each in far if abs(each.mean) > shown]


def _point_beyond(axes: Axes, x: float, text: str, colour: str, place: int) -> None:
    """Point at a number that is beyond the axes, and say it, each base in a row of its own."""
    away = 0.03 + 0.045 * place
    edge, arrow = (away, "v") if text.startswith(MINUS) else (1 - away, "^")
    where = axes.get_xaxis_transform()
    axes.plot([x], [edge], arrow, color=colour, markersize=5, transform=where, clip_on=False)
    axes.text(x, edge, f"  {text}", color=colour, fontsize=SMALL, va="center", transform=where)


def _draw_kept(axes: Axes, effects: Effects) -> None:
    """Draw how much noise is kept with each level."""
    levels = _levels(effects)
    style = "o-" if _are_numbers(levels) else "o"
    for place, each in enumerate(effects.values()):
        known = [(levels.index(e.level), 100 * e.kept.mean) for e in each if e.kept is not None]
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(*zip(*known, strict=True), style, color=colour, markersize=3.5, linewidth=0.8)
    _name_levels(axes, levels, LETTERS // 3)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), 1.05 * high)
    axes.set_ylabel("noise kept (%)", fontsize=8)
    _finish(axes)


def _levels(effects: Effects) -> list[str]:
    return list(dict.fromkeys(effect.level for each in effects.values() for effect in each))


def _are_numbers(levels: Sequence[str]) -> bool:
    """Whether levels are numbers, of which one lies between others."""
    return all(level.replace(".", "", 1).isdigit() for level in levels)


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
    looks: Mapping[str, tuple[str, str]],
) -> None:
    """Draw mean curves with their intervals: over parts of the run, or steps where they differ.

    Levels look as they are told to, by colour and style of line.
    """
    steps = {line.steps for lines in levels.values() for line in lines}
    ends: list[float] = []
    for level, lines in levels.items():
        if not lines:
            continue
        (colour, style), band = looks[level], band_of(lines, curves)
        x = (np.arange(POINTS) + 0.5) / POINTS
        if len(steps) > 1:
            x = x * lines[0].steps
        axes.plot(x, band.mean, color=colour, linewidth=1.2, linestyle=style, label=level)
        if band.half is not None:
            axes.fill_between(
                x, band.mean - band.half, band.mean + band.half, color=colour, alpha=0.13, lw=0
            )
        last, restored = mean_of(lines, "final_psnr"), mean_of(lines, "psnr")
        assert last is not None, "every run has a last step"
        assert restored is not None, "and is scored"
        axes.plot(x[-1:], [last.mean], "o", color=colour, markersize=3)
        if abs(restored.mean - last.mean) > OTHER:
            axes.plot(x[-1:], [restored.mean], "D", color=colour, markersize=4.5, fillstyle="none")
        ends += [last.mean, restored.mean]
    if len(steps) > 1:
        axes.set_xscale("log")
        axes.set_xlabel("step", fontsize=8)
        axes.set_xlim(left=max(1.0, min(steps) * EDGE))
    else:
        axes.set_xlabel(f"part of the run ({next(iter(steps), 0)} steps)", fontsize=8)
    axes.set_ylabel("PSNR (dB)", fontsize=8)
    _leave_out_the_start(axes, levels, curves, ends)
    _finish(axes)
    if len(levels) <= BESIDE:
        axes.legend(fontsize=6.5, frameon=False, loc="lower right")
    else:
        place = (0.5, -0.2)
        axes.legend(fontsize=6.5, frameon=False, loc="upper center", bbox_to_anchor=place, ncols=3)


def _leave_out_the_start(
    axes: Axes,
    levels: Mapping[str, Sequence[Line]],
    curves: Mapping[str, Curve],
    ends: Sequence[float],
) -> None:
    """Show what differs, the ends included: the first tenth of a run rises from nothing."""
    means = [band_of(lines, curves).mean for lines in levels.values() if lines]
    low = min(*ends, *(float(mean[POINTS // 10 :].min()) for mean in means))
    high = max(*ends, *(float(mean.max()) for mean in means))
    room = max(0.08 * (high - low), 0.15)
    axes.set_ylim(low - 3 * room, high + 2 * room)


def _shades(levels: Sequence[str]) -> list[str]:
    """Give levels colours: from dark to light if they are numbers, else unlike ones."""
    if not _are_numbers(levels):
        return list(islice(cycle(COLOURS), len(levels)))
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, max(len(levels), 2)))
    return [matplotlib.colors.to_hex(shade) for shade in shades[: len(levels)]]


def _finish(axes: Axes) -> None:
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis="y", color=FAINT, linewidth=0.4, alpha=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
