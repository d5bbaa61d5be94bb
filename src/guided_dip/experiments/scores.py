"""The numbers of a row: what its runs' saved records say, and their mean and spread over seeds.

Best PSNR and best time compare with the clean image at every step: an oracle's figures. Where the
clean image has drawn the guides, every figure is one.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from guided_dip.diffusion import coefficients, make_schedule
from guided_dip.experiments.rows import Arm, Row
from guided_dip.guidance import Stage
from guided_dip.noise import estimate_sigma
from guided_dip.result import Scoring
from guided_dip.runs import SavedRun

Floats = NDArray[np.floating[Any]]

WINDOW = 5  # steps in which a jump is looked for
TREND = 0.01  # of the run: a running mean over it tells a trend from step-to-step jitter
EARLY = 0.25  # of the run


@dataclass(frozen=True)
class Colours:
    """Means over a picture in [0, 1]: brightness (max of R, G, B), HSV saturation, green excess.

    The green excess of a pixel is how far G stands above the larger of R and B, at least 0.
    """

    brightness: float
    saturation: float
    green: float


@dataclass(frozen=True)
class RunNumbers:
    """What is reported of one run.

    Attributes
    ----------
    seed, steps
        Of the run.
    final_psnr, final_loss
        Of the last step.
    best_psnr, best_step
        Largest PSNR of any step, and the first step that has it: an oracle's figures.
    trend_drop
        How far the PSNR's running mean ends below its own largest value, in dB.
    restored_psnr
        Of the restoration itself, which may be a mean over several outputs.
    input_psnr
        Of the image that was restored; None where that is the clean one.
    ceiling
        PSNR of the last guide's expectation; None where the guides are unbiased.
    loss_jump, psnr_jump
        How many times larger the change at a stage's beginning is than the usual one within
        stages; None without stages long enough to tell.
    early_sigma
        Estimated noise of the early intermediate pictures, in [0, 1] units; None without any.
    colours, original
        Of the restoration and of the clean image; None for a gray picture.
    """

    seed: int
    steps: int
    final_psnr: float
    final_loss: float
    best_psnr: float
    best_step: int
    trend_drop: float
    restored_psnr: float | None = None
    input_psnr: float | None = None
    ceiling: float | None = None
    loss_jump: float | None = None
    psnr_jump: float | None = None
    early_sigma: float | None = None
    colours: Colours | None = None
    original: Colours | None = None

    @property
    def steps_past_best(self) -> int:
        """Steps from the best to the last."""
        return self.steps - 1 - self.best_step

    @property
    def lost(self) -> float:
        """PSNR from the best step to the last, in dB."""
        return self.best_psnr - self.final_psnr


@dataclass(frozen=True)
class Mean:
    """Mean and sample standard deviation over seeds; the latter None with a single one."""

    value: float
    std: float | None
    count: int


@dataclass(frozen=True)
class RowNumbers:
    """The runs of a row in one arm, at least one, by seed."""

    row: Row
    runs: tuple[RunNumbers, ...]

    def mean(self, what: str | Callable[[RunNumbers], float | None]) -> Mean | None:
        """Average over seeds.

        Parameters
        ----------
        what
            A field of `RunNumbers`, or a function of one; None if any run has no such number.
        """
        get = (lambda run: getattr(run, what)) if isinstance(what, str) else what
        found = [get(run) for run in self.runs]
        values = [float(value) for value in found if value is not None]
        if len(values) < len(found):
            return None
        std = statistics.stdev(values) if len(values) > 1 else None
        return Mean(statistics.fmean(values), std, len(values))


@dataclass(frozen=True)
class ArmNumbers:
    """The rows of one arm that have finished runs."""

    arm: Arm
    rows: tuple[RowNumbers, ...]

    def __getitem__(self, key: str) -> RowNumbers | None:
        return next((row for row in self.rows if row.row.key == key), None)


def numbers_of(run: SavedRun) -> RunNumbers:
    """Compute the numbers of a finished run from its folder.

    Parameters
    ----------
    run
        Of at least one step, scored against a clean image.
    """
    loss = np.array([record.loss for record in run.records])
    psnr = np.array([record.psnr for record in run.records], dtype=float)
    best = int(np.argmax(psnr))
    starts = [
        first
        for stage, first in zip(run.summary.plan, run.summary.plan.boundaries, strict=True)
        if stage.steps
    ][1:]
    scores, before = run.summary.scores, run.summary.scores_before
    return RunNumbers(
        seed=run.config.seed,
        steps=len(run.records),
        final_psnr=float(psnr[-1]),
        final_loss=float(loss[-1]),
        best_psnr=float(psnr[best]),
        best_step=run.records[best].step,
        trend_drop=trend_drop(psnr),
        restored_psnr=None if scores is None else scores.psnr,
        input_psnr=None if before is None or run.summary.oracle else before.psnr,
        ceiling=ceilings(run)[-1],
        loss_jump=jump_ratio(loss, starts),
        psnr_jump=jump_ratio(psnr, starts),
        early_sigma=_early_sigma(run),
        colours=colours_of(run.restored),
        original=None if run.clean is None else colours_of(run.clean),
    )


def trend_drop(psnr: Floats) -> float:
    """Return how far the running mean of the PSNR ends below its largest value, in dB."""
    window = max(1, round(TREND * len(psnr)))
    means = sliding_window_view(psnr, window).mean(axis=1)
    return float(means.max() - means[-1])


def jump_ratio(values: Floats, starts: list[int]) -> float | None:
    """Compare the change where stages begin with the change within them.

    Parameters
    ----------
    values
        One a step.
    starts
        Steps at which the target changes.

    Returns
    -------
    float or None
        Median over the beginnings of the largest step-to-step change in the `WINDOW` steps from
        there, divided by the median of the same over all windows that contain no beginning.
    """
    change = np.abs(np.diff(values))
    if not starts or len(change) < WINDOW:
        return None
    largest = sliding_window_view(change, WINDOW).max(axis=1)
    first = np.array(starts) - 1  # change[k] leads from step k to k + 1
    apart = np.abs(np.arange(len(largest))[:, None] - first).min(axis=1) >= WINDOW
    inside = first[first < len(largest)]
    if not apart.any() or not inside.size:
        return None
    usual = float(np.median(largest[apart]))
    return float(np.median(largest[inside])) / usual if usual else None


def ceilings(run: SavedRun) -> list[float | None]:
    """Return, for each stage, the PSNR of its guide's expectation against the clean image.

    The guide is ``signal * x_0 + noise * eps + shift``; a network that fits it and leaves out all
    of its noise ends at ``signal * x_0 + shift``. None where that is the clean image itself.
    """
    clean, config = run.clean, run.config
    guided = config.supervision in ("clean-guides", "observation-guides")
    if clean is None or not guided or config.noise_convention == "unbiased":
        return [None] * len(run.summary.plan)
    schedule = make_schedule(config.schedule, lower_clip=config.lower_clip)
    scoring = Scoring(clean, config.quantize)

    def ceiling(stage: Stage) -> float:
        signal, _, shift = coefficients(schedule, stage.t or 0, config.noise_convention)
        return scoring.psnr(clean * np.float32(signal) + np.float32(shift))

    return [ceiling(stage) for stage in run.summary.plan]


def colours_of(picture: Floats) -> Colours | None:
    """Measure the colours of an (H, W, 3) picture; None for a gray one."""
    if picture.ndim != 3 or picture.shape[2] != 3:
        return None
    rgb = np.clip(picture, 0, 1).astype(np.float64)
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    saturation = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    green = np.maximum(rgb[..., 1] - np.maximum(rgb[..., 0], rgb[..., 2]), 0)
    return Colours(float(high.mean()), float(saturation.mean()), float(green.mean()))


def _early_sigma(run: SavedRun) -> float | None:
    shots = zip(run.summary.snapshots, run.snapshots, strict=True)
    early = [pixels for shot, pixels in shots if shot.step < EARLY * len(run.records)]
    if not early or min(early[0].shape[:2]) < 4:
        return None
    return statistics.fmean(
        estimate_sigma(pixels, channel_axis=-1 if pixels.ndim == 3 else None) for pixels in early
    )
