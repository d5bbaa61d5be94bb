"""Charts as SVG, in the page's own colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guided_dip.guidance import Plan

WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 36


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, at places from `begin` to `end`; logarithmic or not."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value."""
        low, high, value = self._scaled(self.low), self._scaled(self.high), self._scaled(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.begin + min(max(share, 0.0), 1.0) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Return a few round values."""
        if self.log:
            return _log_ticks(self.low, self.high)
        raw = (self.high - self.low) / 4
        if raw <= 0:
            return [self.low]
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(n * power for n in (1, 2, 5, 10) if n * power >= raw)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [n * 10.0**p for p in powers for n in steps if low <= n * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks[:: -(-len(ticks) // 5)]
    return [low, high]


def curve(
    steps: Sequence[int],
    values: Sequence[float],
    *,
    label: str,
    kind: str,
    last: int = 0,
    log: bool = False,
) -> str:
    """Draw a curve over the steps of a fit.

    Parameters
    ----------
    steps, values
        Of the curve; values that are not finite are left out.
    label
        What it shows, for those who do not see it.
    kind
        Class of the line, which gives it its colour.
    last
        Step at which the axis ends; 0: at the curve's last.
    log
        Whether the values' axis is logarithmic.
    """
    points = [
        (step, value)
        for step, value in zip(steps, values, strict=True)
        if math.isfinite(value) and (value > 0 or not log)
    ]
    if len(points) < 2:
        return f'<div class="gd-well gd-chart-empty">{label}: not yet</div>'
    low, high = min(v for _, v in points), max(v for _, v in points)
    spare = 0.0 if log else (high - low) * 0.06 or 0.1
    if log and high <= low * 1.01:
        low, high = low * 0.9, high * 1.1
    x = Axis(0, max(last, points[-1][0], 1), LEFT, WIDTH - RIGHT)
    y = Axis(low - spare, high + spare, HEIGHT - BOTTOM, TOP, log)
    path = " ".join(f"{x.at(step):.1f},{y.at(value):.1f}" for step, value in points)
    told = (
        f"{label}: from {_short(points[0][1])} to {_short(points[-1][1])} at step {points[-1][0]}"
    )
    return (
        f'<svg class="gd-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">'
        f"{_grid(x, y)}"
        f'<polyline class="gd-line {kind}" points="{path}"/>'
        f'<circle class="gd-dot {kind}" cx="{x.at(points[-1][0]):.1f}" '
        f'cy="{y.at(points[-1][1]):.1f}" r="3.5"/></svg>'
    )


def _grid(x: Axis, y: Axis, unit: str = "step") -> str:
    parts = []
    for value in y.ticks():
        at = y.at(value)
        parts.append(
            f'<line class="gd-rule" x1="{x.begin}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(
            f'<text x="{x.begin - 6}" y="{at + 4:.1f}" text-anchor="end">{_short(value)}</text>'
        )
    parts += [
        f'<text x="{x.at(value):.1f}" y="{y.begin + 16:.1f}" text-anchor="middle">{value:g}</text>'
        for value in x.ticks()
    ]
    parts.append(f'<text x="{x.end}" y="{y.begin + 29:.1f}" text-anchor="end">{unit}</text>')
    return "".join(parts)


def _short(value: float) -> str:
    if value and abs(value) < 0.01:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.3g}"


def plan_chart(plan: Plan) -> str:
    """Draw a plan: each guide a bar as wide as its share of the iterations, as high as its noise.

    Parameters
    ----------
    plan
        With a noise level at each stage.
    """
    width, height = 860, 300
    x = Axis(0, max(1, plan.steps), LEFT, width - RIGHT)
    most = max((stage.sigma or 0.0) * 255 for stage in plan)
    y = Axis(0, most * 1.12 or 1.0, height - BOTTOM - 6, TOP + 6)
    parts = [_grid(x, y, "iteration")]
    for number, (stage, first) in enumerate(zip(plan, plan.boundaries, strict=True), start=1):
        level = (stage.sigma or 0.0) * 255
        left, right, top = x.at(first), x.at(first + stage.steps), y.at(level)
        title = f"Guide {number}: t = {stage.t}, noise {level:.1f} of 255, {stage.steps} iterations"
        parts.append(
            f'<rect class="gd-bar" x="{left:.1f}" y="{top:.1f}" '
            f'width="{max(0.0, right - left - 1):.1f}" height="{y.begin - top:.1f}">'
            f"<title>{title}</title></rect>"
        )
        if right - left > 24:
            parts.append(
                f'<text class="gd-strong" x="{(left + right) / 2:.1f}" y="{top - 4:.1f}" '
                f'text-anchor="middle">{stage.t}</text>'
            )
    told = f"{len(plan)} guides over {plan.steps} iterations"
    return (
        f'<svg class="gd-chart gd-wide" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{told}; the table below has the numbers">{"".join(parts)}</svg>'
    )


def counts_chart(plan: Plan) -> str:
    """Draw how many iterations each guide gets, against its timestep, with its noise as a line."""
    width, height = 860, 260
    times = [stage.t or 0 for stage in plan]
    low, high = min(times), max(times)
    pad = max(20.0, (high - low) * 0.06)
    x = Axis(low - pad, high + pad, LEFT, width - 56)
    most = max(stage.steps for stage in plan)
    y = Axis(0, most * 1.15 or 1, height - BOTTOM - 6, TOP + 6)
    loudest = max((stage.sigma or 0.0) * 255 for stage in plan)
    noise = Axis(0, loudest * 1.15 or 1.0, height - BOTTOM - 6, TOP + 6)
    wide = max(3.0, min(26.0, (x.end - x.begin) / max(1, len(plan)) * 0.62))
    parts = [_grid(x, y, "timestep t of the guide")]
    for stage in plan:
        left, top = x.at(stage.t or 0) - wide / 2, y.at(stage.steps)
        parts.append(
            f'<rect class="gd-bar" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" '
            f'height="{y.begin - top:.1f}"><title>t = {stage.t}: {stage.steps} iterations</title>'
            "</rect>"
        )
    line = " ".join(
        f"{x.at(stage.t or 0):.1f},{noise.at((stage.sigma or 0.0) * 255):.1f}" for stage in plan
    )
    parts.append(f'<polyline class="gd-line gd-psnr" points="{line}"/>')
    parts += [
        f'<text class="gd-psnr-text" x="{x.end + 6}" y="{noise.at(value) + 4:.1f}">'
        f"{_short(value)}</text>"
        for value in noise.ticks()
    ]
    return (
        f'<svg class="gd-chart gd-wide" viewBox="0 0 {width} {height}" role="img" aria-label="'
        "Iterations of each guide as bars and its noise as a line, by timestep; the table below "
        f'has the numbers">{"".join(parts)}</svg>'
    )
