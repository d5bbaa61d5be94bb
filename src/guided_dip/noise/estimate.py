"""Estimate the noise of a picture from the picture alone.

The estimator takes 8x8 blocks of the picture to the DCT domain, where white noise spreads evenly
while a picture's content gathers at the low frequencies. Blocks with little energy at the low
frequencies are smooth, so what their high frequencies hold is noise; as the DCT coefficients of
white Gaussian noise are independent, choosing blocks by the one says nothing about the other and
the choice adds no bias. That is the idea of Ponomarenko, Lukin, Zriakhov, Kaarna and Astola,
"An automatic approach to lossy compression of AVIRIS images", IGARSS 2007. On its own it reads
the noise of the darkest blocks where noise grows with the light, as it does in every camera; so
here the choice is made at several levels of brightness, and a variance ``a + b * brightness``
(Foi, Trimeche, Katkovnik and Egiazarian, IEEE TIP 17, 2008) is laid under them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from guided_dip.clipping import find_clipping
from guided_dip.errors import InputError
from guided_dip.noise.model import Floats, NoiseModel

_BLOCK = 8  # pixels; smaller only where the picture is
_SMALLEST = 4  # pixels; below this a block has no high frequencies to speak of
_MAX_BLOCKS = 2**15  # enough for 1% accuracy, few enough for a fraction of a second
_SMOOTHEST = 0.05  # share of the blocks of one brightness that are believed
_FEWEST = 48  # blocks believed at one brightness, whatever the share
_LEVELS = 8  # levels of brightness
_GROWS = 2.0  # variance of bright parts over that of dark ones, from which on noise grows
_ROUNDS = 4  # of filling in clipped noise, fewer if its level stays within the next share
_SETTLED = 0.005
_FILLED = 512  # pixels; so much of each side is filled in
_PEDESTAL = 0.5  # of the noise in dark parts, were there no pedestal
_NO_READ = 0.02  # share of the mean variance; less of it is no read noise to speak of
_UNDER = 0.3  # quantile at which the variance line is laid: texture only ever adds; and 0.3 times
#               a number of levels is never whole, where two lines would be equally good


def estimate_noise(
    image: NDArray[np.floating[Any]], channel_axis: Literal[-1] | None = None
) -> NoiseModel:
    """Estimate the noise of a picture, and whether it grows with the light.

    Parameters
    ----------
    image, channel_axis
        As for `estimate_sigma`.

    Returns
    -------
    NoiseModel
        Gaussian unless the noise clearly grows with the light.

    Raises
    ------
    InputError
        As for `estimate_sigma`.
    """
    pixels = _checked(image, channel_axis)
    reading = _read(pixels)
    if reading is None or not reading.sigma:
        return NoiseModel("gaussian", 0.0)
    sigma, peak, levels, line = reading.sigma, reading.peak, reading.levels, reading.line
    gain, dark = line.slope * peak, line.offset * peak**2
    # Noise that was cut off is weaker at the ends, as if it grew with the light; does it still
    # grow once it is filled in?
    whole = _before_clipping(pixels, sigma)
    if whole is not None and whole.line.growth < _GROWS:
        return NoiseModel("gaussian", whole.sigma)
    if len(levels) < _LEVELS or line.growth < _GROWS:
        return NoiseModel("gaussian", sigma)
    # The line holds at the darkest level; black lies below it.
    read = dark - gain * float(levels.min()) * peak
    if read < _NO_READ * sigma**2:
        return _counted(pixels, gain, -read / gain, levels * peak, reading.variances * peak**2)
    return NoiseModel("poisson-gaussian", math.sqrt(read), gain)


def _counted(
    pixels: Floats, gain: float, black: float, levels: Floats, variances: Floats
) -> NoiseModel:
    """Return counted light, whose noise may end above black: an instrument's pedestal.

    Of a photograph without dark parts the line says little of where it ends; a pedestal is believed
    where dark parts have far less noise than light from 0 on would have.
    """
    from_zero = float(np.median(variances[levels > 0] / levels[levels > 0]))
    if variances[0] < _PEDESTAL * from_zero * levels[0]:
        darkest = float(np.quantile(pixels, 0.01))
        return NoiseModel("poisson", gain=gain, black=max(0.0, min(black, darkest)))
    return NoiseModel("poisson", gain=gain)


def _before_clipping(pixels: Floats, sigma: float) -> _Reading | None:
    """Read the noise as it was before even noise was cut off; None if nothing was.

    The noise is filled in as strong as it was read, and read anew, again and again: what is filled
    in is little of the picture, so the level soon stays where it is.
    """
    part, reading = _middle(pixels), None
    before = sigma
    for _ in range(_ROUNDS):
        clipping = find_clipping(part, before)
        if clipping is None:
            break
        reading = _read(clipping.filled(part, 0))
        assert reading is not None, "noise that is filled in varies"
        last, before = before, reading.sigma
        if abs(before - last) < _SETTLED * before:
            break
    return reading


def _middle(pixels: Floats) -> Floats:
    """Return the middle of a large picture: filling in takes seconds a megapixel."""
    top, left = (max(0, (size - _FILLED) // 2) for size in pixels.shape[:2])
    return pixels[top : top + _FILLED, left : left + _FILLED]


def estimate_sigma(
    image: NDArray[np.floating[Any]], channel_axis: Literal[-1] | None = None
) -> float:
    """Estimate the noise level of a picture from the picture alone.

    Where noise depends on brightness the answer is the root of its mean variance over the
    picture; over channels, too. Noise whose neighbours are correlated (a demosaicked or
    compressed photo) is under-estimated, as by every estimator that reads high frequencies.

    Parameters
    ----------
    image
        (H, W), or (H, W, C) with ``channel_axis=-1``; float, white is 1.0; at least 4x4.
    channel_axis
        -1 if the last axis holds channels, None for a gray picture.

    Returns
    -------
    float
        sigma in [0, 1] units; 0 for a constant picture, never NaN.

    Raises
    ------
    InputError
        If the picture is not float, not of the stated shape, not finite, or under 4x4 pixels.

    Notes
    -----
    See the head of this module for the method and its sources.

    Examples
    --------
    >>> from guided_dip.noise import add_gaussian_noise
    >>> noisy = add_gaussian_noise(np.full((64, 64), 0.5), sigma=0.1, seed=0)
    >>> abs(estimate_sigma(noisy) - 0.1) < 0.01
    True
    """
    reading = _read(_checked(image, channel_axis))
    return 0.0 if reading is None else reading.sigma


def read_whiteness(
    image: NDArray[np.floating[Any]], channel_axis: Literal[-1] | None = None
) -> float:
    """Return how evenly a picture's noise spreads over the high frequencies.

    Parameters
    ----------
    image, channel_axis
        As for `estimate_sigma`.

    Returns
    -------
    float
        The highest frequencies' share of the variance of smooth parts, over what white noise would
        have there: about 1 if it is white, less if it is smeared over neighbouring pixels.

    Raises
    ------
    InputError
        As for `estimate_sigma`.
    """
    reading = _read(_checked(image, channel_axis))
    return 1.0 if reading is None else reading.whiteness


@dataclass(frozen=True)
class _Reading:
    """What smooth parts of a picture vary by: levels and variances of the picture over its peak.

    `whiteness` is as `read_whiteness` returns it.
    """

    peak: float
    levels: Floats
    variances: Floats
    line: _Line
    whiteness: float

    @property
    def sigma(self) -> float:
        """Root of the mean variance over the picture, in its own units."""
        return self.peak * math.sqrt(max(self.line.mean, 0.0))


def _read(pixels: Floats) -> _Reading | None:
    """Read the noise off (H, W, C) pixels; None of a picture that holds none."""
    peak = float(np.abs(pixels).max())  # squares of very large or small values would not do
    if peak == 0:
        return None
    brightness, low, high, highest = _spectra(pixels / peak)
    if not brightness.size:
        return None
    levels, variances, of_highest = _smooth_variances(brightness, low, high, highest)
    whiteness = float(of_highest.sum() / variances.sum()) if variances.any() else 1.0
    return _Reading(peak, levels, variances, _line_under(levels, variances), whiteness)


def _checked(image: NDArray[np.floating[Any]], channel_axis: Literal[-1] | None) -> Floats:
    """Give the picture as (H, W, C) float64, or say what is wrong with it."""
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"noise is estimated on float images, got {image.dtype}: convert it first")
    if image.ndim != (2 if channel_axis is None else 3):
        raise InputError(f"channel_axis={channel_axis} does not fit an image of {image.shape}")
    if min(image.shape[:2]) < _SMALLEST:
        height, width = image.shape[:2]
        raise InputError(
            f"{width}x{height} pixels are too few to estimate noise from: state it, such as "
            "--noise gaussian:25"
        )
    if not np.isfinite(image).all():
        raise InputError("noise cannot be estimated: the image has NaN or infinite pixels")
    pixels = image.astype(np.float64)
    return pixels[..., None] if channel_axis is None else pixels


def _spectra(pixels: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Split the blocks of (H, W, C) pixels by frequency.

    Returns the blocks' brightness (B,) and, for each of C orthonormal mixtures of the channels
    (the first is their sum), the energy at low frequencies (B, C) and the mean square at high
    ones (B, C), then at the highest of these (B, C). The mixtures keep white noise as it is and
    part brightness from colour, which has less detail. The least noisy mixture would come even
    nearer to pure white noise, but most photographs have had the high frequencies of their colours
    removed, the noise with them; the mean over mixtures is the mean over channels whatever was done
    to them.
    """
    channels = pixels.shape[2]
    size = min(_BLOCK, *pixels.shape[:2])
    blocks = _informative_blocks(pixels, size)
    blocks = np.tensordot(_dct_matrix(channels), blocks, axes=(1, 1)).swapaxes(0, 1)
    dct = _dct_matrix(size)
    spectrum = dct @ blocks @ dct.T
    brightness = spectrum[:, 0, 0, 0] / (size * math.sqrt(channels))
    frequency = np.add.outer(np.arange(size), np.arange(size))
    low, high = (frequency > 0) & (frequency <= size), frequency > size
    highest = frequency > min(size + 2, 2 * size - 3)  # about half of these
    energy = np.square(spectrum, out=spectrum)
    least = energy[..., low].sum(-1)
    return brightness, least, energy[..., high].mean(-1), energy[..., highest].mean(-1)


def _informative_blocks(pixels: Floats, size: int) -> Floats:
    """Cut overlapping (B, C, size, size) blocks; leave out flat ones at the ends of the range.

    A block that is all black or all white is a border or a clipped sky: its noise was cut off.
    """
    windows = sliding_window_view(pixels, (size, size), axis=(0, 1))
    # An odd stride, because JPEG's own 8x8 blocks have had their high frequencies rounded away:
    # an even one would meet too many of them.
    stride = 1
    while math.prod(len(range(0, n, stride)) for n in windows.shape[:2]) > _MAX_BLOCKS:
        stride += 2
    blocks: Floats = windows[::stride, ::stride].reshape(-1, pixels.shape[2], size, size)
    darkest, brightest = pixels.min(), pixels.max()
    ends = (blocks == darkest) | (blocks == brightest)
    flat = np.ptp(blocks, axis=(2, 3)) == 0
    informative: Floats = blocks[~(ends.all(axis=(1, 2, 3)) & flat.all(axis=1))]
    return informative


def _dct_matrix(size: int) -> Floats:
    """Orthonormal DCT-II matrix, (size, size), a row a frequency."""
    angle = np.outer(np.arange(size), np.arange(size) + 0.5) * (math.pi / size)
    matrix: Floats = np.cos(angle) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def _smooth_variances(
    brightness: Floats, low: Floats, high: Floats, highest: Floats
) -> tuple[Floats, Floats, Floats]:
    """Read the noise variance of the smoothest blocks at each level of brightness, dark to light.

    Returns the levels, and the variances at high and at the highest frequencies.
    """
    count = min(_LEVELS, max(1, len(brightness) // _FEWEST))
    levels, variances, of_highest = [], [], []
    for members in np.array_split(np.argsort(brightness, kind="stable"), count):
        believed = min(len(members), max(_FEWEST, round(_SMOOTHEST * len(members))))
        smoothest = np.argsort(low[members], axis=0, kind="stable")[:believed]
        variances.append(np.take_along_axis(high[members], smoothest, axis=0).mean())
        of_highest.append(np.take_along_axis(highest[members], smoothest, axis=0).mean())
        levels.append(brightness[members].mean())
    return np.array(levels), np.array(variances), np.array(of_highest)


@dataclass(frozen=True)
class _Line:
    """Variances ``offset + slope * (level - darkest)``, and what they are at the levels."""

    offset: float
    slope: float
    values: Floats

    @property
    def mean(self) -> float:
        """Over the levels."""
        return float(self.values.mean())

    @property
    def growth(self) -> float:
        """Variance at the brightest level over that at the darkest."""
        least, most = float(self.values.min()), float(self.values.max())
        return most / least if least > 0 else math.inf if most > 0 else 1.0


def _line_under(levels: Floats, variances: Floats) -> _Line:
    """Lay ``a + b * level``, ``a, b >= 0``, under the variances.

    The line minimises the pinball loss of a low quantile. Like every linear programme this one
    has its optimum at a vertex: a line through two of the points, a constant through one, or a
    line through one that is zero at the darkest level. There are few enough to try them all.
    """
    level = levels - levels.min()  # black need not be 0
    first, second = np.triu_indices(len(level), k=1)
    apart = level[second] > level[first]
    first, second = first[apart], second[apart]
    bright = np.flatnonzero(level > 0)
    through = np.concatenate([first, np.arange(len(level)), bright])
    rising = (variances[second] - variances[first]) / (level[second] - level[first])
    slopes = np.concatenate([rising, np.zeros(len(level)), variances[bright] / level[bright]])
    offsets = variances[through] - slopes * level[through]
    fits = (slopes >= 0) & (offsets >= -1e-12 * variances.max())
    lines = offsets[fits, None] + slopes[fits, None] * level
    above = variances - lines
    loss = np.where(above > 0, _UNDER * above, (_UNDER - 1) * above).sum(axis=1)
    best = int(np.argmin(loss))
    return _Line(float(offsets[fits][best]), float(slopes[fits][best]), lines[best])
