"""What a restoration took away, held against the noise it reckoned with.

The residual ``y - x_hat`` of a good restoration is nothing but noise: as strong as the model says,
independent from pixel to pixel, the same in dark and bright parts, and without the picture's edges
in it (the "method noise" of Buades, Coll and Morel, Multiscale Modeling & Simulation 4(2), 2005,
which they judge by eye). What deviates is said in words; ``benchmarks/residual_checks.py`` measures
how often that is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from guided_dip.noise import NoiseModel, estimate_sigma
from guided_dip.sampling import ENOUGH, sampled
from guided_dip.tiling import bands

__all__ = ["ResidualCheck", "check_residual", "explained_share"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST = 400  # samples that say anything about noise
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
CLIPPED = 0.001  # share of the pixels at one extreme value that makes it a clipped one
NEAR = 1.5  # sigmas from a clipped extreme within which the noise is not what it was
# What is remarkable: outside what was measured where the model is right (see the benchmark).
READS_LESS, READS_MORE = 0.7, 1.4
WEAKER, STRONGER = 0.87, 1.2
CORRELATED = 0.13
BRIGHTER = 1.45
EDGES = 1.35
SMALLEST = 8  # pixels a side, below which a noise level is not estimated


@dataclass(frozen=True)
class ResidualCheck:
    """Measures of a residual; None where too few pixels are known to tell.

    Attributes
    ----------
    std
        Root mean square of the residual, in [0, 1] units; where light is counted, of the residual
        after the noise was made even, to 1.
    ratio
        That over the noise model's standard deviation; None if the model has no noise.
    reading
        The noise level estimated from the picture over the model's; 1 where it was estimated.
    correlation
        Of neighbouring pixels, in [-1, 1]: the strongest of the four directions. White noise: 0.
    brightness
        Standard deviation in the brightest quarter of the flat parts over that in the darkest.
    edges
        Root mean square on the tenth of the picture with the steepest edges over that on its
        flatter half.
    warnings
        What does not fit, in words, and what to try.
    """

    std: float | None = None
    ratio: float | None = None
    reading: float | None = None
    correlation: float | None = None
    brightness: float | None = None
    edges: float | None = None
    warnings: tuple[str, ...] = ()


def check_residual(
    noisy: NDArray[np.float32],
    restored: NDArray[np.float32],
    noise: NoiseModel | None,
    missing: Mask | None = None,
    *,
    correlated: bool = False,
) -> ResidualCheck:
    """Hold the residual of a restoration against the noise model.

    Parameters
    ----------
    noisy, restored
        (H, W) or (H, W, C), in [0, 1] units; values outside are allowed.
    noise
        What the restoration reckoned with; None if with nothing.
    missing
        (H, W), pixels that were never measured.
    correlated
        Whether the noise was reckoned as correlated from pixel to pixel, and with brightness, so
        that neither is held against it.

    Returns
    -------
    ResidualCheck
        Of squares spread over it, where the picture is large.
    """
    noisy, restored = sampled(noisy), sampled(restored)
    missing = None if missing is None else sampled(missing)
    y, x = (_evened(image, noise) for image in (noisy, restored))
    sigma = 0.0 if noise is None else noise.even_sigma
    known = _known(y, x, sigma, missing)
    if known.sum() < FEWEST:
        return ResidualCheck()
    residual = np.where(known, y - x, 0.0)
    residual -= known * (residual.sum((0, 1)) / np.maximum(known.sum((0, 1)), 1))
    power = residual**2
    std = math.sqrt(power[known].mean())
    if not std:
        return ResidualCheck(std=0.0, ratio=0.0 if sigma else None)
    steep = _steepness(x)
    check = ResidualCheck(
        std=std,
        ratio=std / sigma if sigma else None,
        reading=None if correlated else _reading(y, sigma, missing),
        correlation=None if correlated else _correlation(residual, known),
        brightness=None
        if correlated
        else _brightness(power, x.mean(axis=2), known & _lowest(0.5, steep)),
        edges=_edges(power, known, steep),
    )
    return replace(check, warnings=tuple(_warnings(check, noise)))


def explained_share(
    noisy: NDArray[np.float32],
    restored: NDArray[np.float32],
    noise: NoiseModel,
    missing: Mask | None = None,
) -> float:
    """Return the share of a restoration that comes closest to the clean image.

    An estimate with an error ``e`` that has nothing to do with the noise leaves a residual of mean
    square ``r^2 = sigma^2 + e^2``. Blended with the noisy image, ``y - w (y - x_hat)``, its error
    is ``(1 - w)^2 sigma^2 + w^2 e^2``, least at ``w = sigma^2 / r^2``. A residual no stronger than
    the noise gives 1.

    Parameters
    ----------
    noisy, restored, noise, missing
        As for `check_residual`.

    Returns
    -------
    float
        In [0, 1].
    """
    powers, counts = [], []
    for rows in bands(len(noisy), noisy.shape[1], ENOUGH):
        residual = _evened(noisy[rows], noise) - _evened(restored[rows], noise)
        known = residual if missing is None else residual[~missing[rows]]
        if known.size:
            powers.append(float(np.mean(known**2)))
            counts.append(known.size)
    power = float(np.average(powers, weights=counts)) if len(powers) > 1 else powers[0]
    return min(1.0, noise.even_sigma**2 / power) if power else 1.0


def _evened(image: NDArray[np.float32], noise: NoiseModel | None) -> Floats:
    """Return (H, W, C) pixels in which the noise is to be the same everywhere."""
    pixels = np.atleast_3d(image).astype(np.float64)
    return pixels if noise is None else noise.evened(pixels)


def _known(y: Floats, x: Floats, sigma: float, missing: Mask | None) -> Mask:
    """Return the samples (H, W, C) whose noise has not been cut off at black or white."""
    known: Mask = np.logical_and(np.isfinite(y), np.isfinite(x))
    if missing is not None:
        known &= ~missing[..., None]
    if known.sum() < FEWEST:
        return known
    values = y[known]
    for extreme, sign in ((values.min(), 1), (values.max(), -1)):
        if (values == extreme).mean() > CLIPPED:
            known &= sign * (x - extreme) > NEAR * sigma
    return known


def _reading(y: Floats, sigma: float, missing: Mask | None) -> float | None:
    """Return what the noise level is estimated as, over what it was taken to be."""
    if not sigma or missing is not None or min(y.shape[:2]) < SMALLEST:
        return None
    return estimate_sigma(y, channel_axis=-1) / sigma


def _correlation(residual: Floats, known: Mask) -> float | None:
    found = [_correlation_at(residual, known, lag) for lag in NEIGHBOURS]
    values = [value for value in found if value is not None]
    return max(values, key=abs) if values else None


def _correlation_at(residual: Floats, known: Mask, lag: tuple[int, int]) -> float | None:
    """Correlate samples with those `lag` (rows, columns) away; channels count alike."""
    one, other = (_part(known.shape[:2], lag, end) for end in (0, 1))
    pairs = known[one] & known[other]
    if pairs.sum() < FEWEST // 2:
        return None
    first, second = residual[one][pairs], residual[other][pairs]
    power = math.sqrt(float((first**2).mean()) * float((second**2).mean()))
    return float((first * second).mean()) / power if power else None


def _part(shape: tuple[int, ...], lag: tuple[int, int], end: int) -> tuple[slice, ...]:
    """Cut (H, W) so that its two ends (0 and 1), laid on each other, are `lag` apart."""
    slices = []
    for size, shift in zip(shape, lag, strict=True):
        late = (end == 1) == (shift >= 0)
        slices.append(slice(abs(shift), None) if late else slice(0, max(0, size - abs(shift))))
    return tuple(slices)


def _steepness(x: Floats) -> Floats:
    """Return the squared gradient of the mean channel, (H, W)."""
    gray: Floats = np.nan_to_num(x.mean(axis=2))
    steep = np.zeros_like(gray)
    for axis in (0, 1):
        if gray.shape[axis] > 1:
            steep += np.asarray(np.gradient(gray, axis=axis)) ** 2
    return steep


def _lowest(share: float, values: Floats) -> Mask:
    """Return which of the (H, W) pixels belong to the lowest share, as (H, W, 1)."""
    lowest: Mask = np.asarray(values <= np.quantile(values, share))
    return lowest[..., None]


def _brightness(power: Floats, gray: Floats, flat: Mask) -> float | None:
    """Compare the residual of bright and dark flat parts."""
    gray = np.broadcast_to(gray[..., None], flat.shape)
    if not flat.any():
        return None
    low, high = np.quantile(gray[flat], (0.25, 0.75))
    dark, bright = power[flat & (gray <= low)], power[flat & (gray >= high)]
    if low == high or min(dark.size, bright.size) < FEWEST // 8 or not dark.mean():
        return None
    return math.sqrt(bright.mean() / dark.mean())


def _edges(power: Floats, known: Mask, steep: Floats) -> float | None:
    flat, edges = power[known & _lowest(0.5, steep)], power[known & ~_lowest(0.9, steep)]
    if min(flat.size, edges.size) < FEWEST // 16 or not flat.mean():
        return None
    return math.sqrt(edges.mean() / flat.mean())


def _warnings(check: ResidualCheck, noise: NoiseModel | None) -> Iterator[str]:
    """Say what does not fit."""
    reading = check.reading
    if noise is not None and reading is not None and not READS_LESS <= reading <= READS_MORE:
        read = noise.scaled(reading)
        yield (
            f"the noise reads as {read}, not {noise}; try --noise auto, or {read} if auto has "
            f"found {noise}"
        )
    if check.ratio is not None and check.ratio < WEAKER:
        yield (
            f"only {check.ratio:.2f} of {noise} was taken away, so noise is left: it is stronger, "
            "or not independent from pixel to pixel; try a larger --noise"
        )
    if check.ratio is not None and check.ratio > STRONGER:
        yield (
            f"{check.ratio:.2f} times {noise} was taken away: detail was lost, or the noise is "
            "stronger; try more --steps, or --strength below 1"
        )
    if check.correlation is not None and abs(check.correlation) > CORRELATED:
        yield (
            "neighbouring pixels of what was taken away are correlated "
            f"({check.correlation:+.2f}): the noise is not independent from pixel to pixel, or "
            "detail was lost; try a larger --noise if noise is left, a smaller one if detail is not"
        )
    if check.brightness is not None and not 1 / BRIGHTER <= check.brightness <= BRIGHTER:
        more, less = ("bright", "dark") if check.brightness > 1 else ("dark", "bright")
        times = max(check.brightness, 1 / check.brightness)
        yield (
            f"{times:.2f} times as much was taken away in {more} parts as in {less} ones, but the "
            f"noise was reckoned as even; look for detail lost in {less} parts"
        )
    if check.edges is not None and check.edges > EDGES:
        yield (
            f"edges are left in what was taken away ({check.edges:.2f} times the flat parts): "
            "detail was lost; try more --steps, or --strength below 1"
        )
