r"""Grain: noise that is correlated from pixel to pixel, as cameras and compression make it.

Demosaicking, resizing and compression smear noise over neighbouring pixels and over channels. An
estimator that reads high frequencies then finds almost none, and recorrupted guides whose fresh
noise is white are no longer independent of what is in the picture. They are again if the fresh
noise has the same covariance: for ``y = x + n`` and ``eta`` with ``Cov(eta) = Cov(n)`` the noises
``n + a eta`` of the input and ``n - eta / a`` of the target are uncorrelated, whatever that
covariance is (Pang et al., "Recorrupted-to-Recorrupted", CVPR 2021, sec. 3).

The covariance is read off the flattest blocks at several levels of brightness. Blocks are chosen
by the slope of a strongly blurred picture, in which little of the noise is left, so that choosing
by it hardly biases the noise; of those the less varied half counts, as texture only adds. The
covariance is modelled as a product: variance over brightness (a line), channel covariance, and a
zero-phase kernel whose autocorrelation is the blocks'.

Fine texture is correlated, too. But noise is everywhere: in no block of the picture is much less
of it than the line says, and a tenth of the blocks hold hardly more. Where that is not so the
noise is taken for white, as before: it is worse to wipe off texture than to leave grain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from guided_dip.noise import NoiseModel, estimate_noise, estimate_sigma

__all__ = ["Grain", "estimate_noise_and_grain", "find_grain", "read_grain"]

Floats = NDArray[np.float64]

BLOCK = 16  # pixels
SMALLEST = 64  # pixels a side of a picture whose grain can be told from its detail
SLOPE_BLUR = 3.0  # pixels, standard deviation
BLUR = 2.0  # pixels, standard deviation of the mean from which the local noise is read
FLATTEST = 0.1  # share of the blocks that are looked at
QUIETEST = 0.5  # share of these that is believed
FEWEST = 8  # blocks of a level of brightness
LEVELS = 4  # of brightness
REACH = 3  # pixels between which grain is reckoned
CORRELATED = 0.45  # of next neighbours, below which noise counts as white
SMEARED = 0.33  # of the noise's strength that high frequencies read, above which it counts as white
LEAST = 1.0 / 255  # weaker grain is not told from a clean picture's fine detail
# Variance of a block over what flat ones like it have: at least so much in all but few blocks, and
# at most so much in a tenth of them.
FEW, EVERYWHERE, QUIET_TENTH = 0.02, 0.62, 1.15
CLIPPED = 0.05  # share of a block's samples at the picture's extremes, from which it is left out
LEAST_SHARE, MOST_SHARE = 0.2, 4.0  # of the usual strength, that a pixel's noise is taken to have


@dataclass(frozen=True, eq=False)
class Grain:
    """How noise is correlated, and how its strength goes with brightness.

    Attributes
    ----------
    sigma
        Root of the noise's mean variance over the picture, in the picture's units.
    kernel : (7, 7)
        Filter that gives white noise the correlation; of unit energy, symmetric about its middle.
    mixing : (C, C)
        Matrix that gives white noise the channels' covariance, whose mean variance is 1.
    offset, slope
        The variance is ``offset + slope * brightness``.
    lift
        That over the variance of the flat blocks it was read from, which have lost some of it.
    """

    sigma: float
    kernel: Floats
    mixing: Floats
    offset: float
    slope: float
    lift: float

    @property
    def correlation(self) -> float:
        """Of next neighbours, the larger of across and down."""
        k = self.kernel
        return float(max((k[:, 1:] * k[:, :-1]).sum(), (k[1:] * k[:-1]).sum()))

    def local_share(self, pixels: NDArray[Any]) -> Floats:
        """Return how strong the noise is at each pixel, over `sigma`.

        Parameters
        ----------
        pixels : (H, W, C)
            The picture; brightness is its local mean.
        """
        brightness = ndimage.gaussian_filter(pixels.mean(axis=2).astype(np.float64), BLUR)
        variance = np.maximum(self.offset + self.slope * brightness, 0)
        share = np.sqrt(variance) / self.sigma
        whole: Floats = np.clip(share, LEAST_SHARE, MOST_SHARE)[..., None]
        return np.broadcast_to(whole, pixels.shape)


def find_grain(pixels: NDArray[Any], high: float) -> Grain | None:
    """Find out whether a picture's noise is correlated, and how.

    Parameters
    ----------
    pixels : (H, W, C)
        The picture.
    high
        Noise level that its high frequencies read: `guided_dip.noise.estimate_sigma`'s.

    Returns
    -------
    Grain or None
        None if the noise is white, or nothing can be told.
    """
    grain = read_grain(pixels)
    if grain is None or grain.sigma < LEAST or grain.correlation < CORRELATED:
        return None
    if high > SMEARED * grain.sigma or not _is_everywhere(pixels, grain):
        return None
    return grain


def estimate_noise_and_grain(pixels: NDArray[Any]) -> tuple[NoiseModel, Grain | None]:
    """Estimate the noise of a picture, and whether it is correlated.

    Parameters
    ----------
    pixels : (H, W, C)
        The picture, float.

    Returns
    -------
    noise
        Gaussian where the noise is correlated: the grain has how it goes with brightness.
    grain
        None if the noise is white.
    """
    grain = find_grain(pixels, estimate_sigma(pixels, channel_axis=-1))
    if grain is not None:
        return NoiseModel("gaussian", grain.sigma), grain
    return estimate_noise(pixels, channel_axis=-1), None


def read_grain(pixels: NDArray[Any]) -> Grain | None:
    """Read the noise off a picture whose noise is known to be correlated.

    Parameters
    ----------
    pixels : (H, W, C)
        The picture.

    Returns
    -------
    Grain or None
        None if the picture is too small or has no noise.
    """
    if min(pixels.shape[:2]) < SMALLEST:
        return None
    pixels = pixels.astype(np.float64)
    blocks, brightness = _flat_blocks(pixels)
    variances = np.square(blocks).mean(axis=(1, 2, 3))
    levels, read, chosen = [], [], []
    for members in np.array_split(np.argsort(brightness, kind="stable"), LEVELS):
        quiet = members[np.argsort(variances[members], kind="stable")]
        quiet = quiet[: max(FEWEST, round(QUIETEST * len(quiet)))]
        levels.append(brightness[quiet].mean())
        read.append(variances[quiet].mean())
        chosen.append(quiet)
    believed = np.concatenate(chosen)
    scaled = blocks[believed] / np.sqrt(np.maximum(variances[believed], 1e-20))[:, None, None, None]
    offset, slope = _line(np.array(levels), np.array(read))
    variance = offset + slope * float(pixels.mean())
    if not variance > 1e-20 * float(np.square(pixels).max()):  # rounding
        return None
    (correlations, lost), mixing = _with_planes(_correlations(scaled)), _mixing(scaled)
    lift = _lift(correlations, mixing) * (1 + lost)
    sigma = math.sqrt(lift * variance)
    return Grain(sigma, _kernel(correlations), mixing, lift * offset, lift * slope, lift)


def _with_planes(correlations: Floats) -> tuple[Floats, float]:
    """Add to correlations what taking the blocks' planes off took from them.

    A plane fits away three of a block's components, of the lowest frequencies, whose variance is
    the sum of the correlations: nearly the same at every shift.

    Returns the correlations, and the loss over the variance that was left.
    """
    lost = 0.0
    whole = correlations
    for _ in range(4):
        lost = min(0.3, max(0.0, 3 * float(whole.sum()) / BLOCK**2))
        whole = (correlations + lost) / (1 + lost)
    return whole, lost


def _lift(correlations: Floats, mixing: Floats) -> float:
    """Return by what the mean variance of the less varied half of the blocks is too small.

    A block's variance has a relative deviation of ``sqrt(2 sum(r^2) / n)`` for correlations ``r``
    of its ``n`` samples, and the lower half of a normal distribution a mean ``sqrt(2 / pi)``
    deviations below the whole's.
    """
    covariance = mixing @ mixing.T
    alike = float((covariance**2).sum()) / float(np.trace(covariance)) ** 2
    deviation = math.sqrt(2 * float((correlations**2).sum()) * alike / BLOCK**2)
    return 1 / (1 - min(0.5, math.sqrt(2 / math.pi) * deviation))


def _is_everywhere(pixels: NDArray[Any], grain: Grain) -> bool:
    """Tell whether all parts of a picture hold such noise, as they do not of texture."""
    channels = pixels.shape[2]
    windows = sliding_window_view(pixels.astype(np.float64), (BLOCK, BLOCK), axis=(0, 1))
    blocks = windows[:: BLOCK // 2, :: BLOCK // 2].reshape(-1, channels, BLOCK**2)
    ends = (blocks == pixels.min()) | (blocks == pixels.max())
    blocks = blocks[ends.mean(axis=(1, 2)) < CLIPPED]
    if len(blocks) < FEWEST:
        return False
    expected = (grain.offset + grain.slope * blocks.mean(axis=(1, 2))) / grain.lift
    variances = np.square(blocks @ _without_plane()).mean(axis=(1, 2))
    few, tenth = np.quantile(variances / np.maximum(expected, 1e-20), [FEW, 0.1])
    return bool(few >= EVERYWHERE and tenth <= QUIET_TENTH)


def _without_plane() -> Floats:
    """Return the matrix that takes its plane off a flattened block."""
    rows, columns = np.mgrid[:BLOCK, :BLOCK] - (BLOCK - 1) / 2
    plane = np.stack([np.ones(BLOCK**2), rows.ravel(), columns.ravel()], axis=1)
    projection: Floats = np.eye(BLOCK**2) - plane @ np.linalg.pinv(plane)
    return projection


def _flat_blocks(pixels: Floats) -> tuple[Floats, Floats]:
    """Return the flattest blocks at each level of brightness without their planes.

    Returns (B, 16, 16, C) residuals and the (B,) brightness.
    """
    height, width, channels = pixels.shape
    gray = ndimage.gaussian_filter(pixels.mean(axis=2), SLOPE_BLUR)
    slope = np.hypot(*np.gradient(gray))
    corners = [
        (top, left)
        for top in range(0, height - BLOCK + 1, BLOCK // 2)
        for left in range(0, width - BLOCK + 1, BLOCK // 2)
    ]
    steepest = np.array([slope[t : t + BLOCK, x : x + BLOCK].max() for t, x in corners])
    bright = np.array([gray[t : t + BLOCK, x : x + BLOCK].mean() for t, x in corners])
    flat: list[int] = []
    for members in np.array_split(np.argsort(bright, kind="stable"), LEVELS):
        count = max(2 * FEWEST, round(FLATTEST * len(members)))
        flat += list(members[np.argsort(steepest[members], kind="stable")][:count])
    cut = [pixels[t : t + BLOCK, x : x + BLOCK] for t, x in (corners[k] for k in flat)]
    residuals = _without_plane() @ np.array(cut).reshape(len(flat), BLOCK**2, channels)
    return residuals.reshape(len(flat), BLOCK, BLOCK, channels), bright[flat]


def _correlations(blocks: Floats) -> Floats:
    """Return the correlation at each shift up to `REACH` pixels, (7, 7), 1 in the middle."""
    found = np.empty((REACH + 1, 2 * REACH + 1))
    for down in range(REACH + 1):
        for across in range(-REACH, REACH + 1):
            left, right = max(0, -across), max(0, across)
            one = blocks[:, : BLOCK - down, left : BLOCK - right]
            other = blocks[:, down:, right : BLOCK - left]
            found[down, across + REACH] = (one * other).mean()
    found /= found[0, REACH]
    return np.concatenate([found[:0:-1, ::-1], found])


def _kernel(correlations: Floats) -> Floats:
    """Return the zero-phase filter whose autocorrelation this is, as nearly as one can be."""
    size = 4 * REACH + 4
    middle = size // 2
    taper = np.cos(np.arange(-REACH, REACH + 1) * math.pi / (2 * REACH + 2)) ** 0.25
    padded = np.zeros((size, size))
    part = slice(middle - REACH, middle + REACH + 1)
    padded[part, part] = correlations * np.outer(taper, taper)
    spectrum = np.fft.fft2(np.fft.ifftshift(padded)).real
    wide = np.fft.fftshift(np.fft.ifft2(np.sqrt(np.maximum(spectrum, 0))).real)
    kernel: Floats = wide[part, part]
    return kernel / math.sqrt(float(np.square(kernel).sum()))


def _mixing(blocks: Floats) -> Floats:
    """Return the lower triangle L with ``L L^T`` the channels' covariance, of mean variance 1."""
    samples = blocks.reshape(-1, blocks.shape[-1])
    covariance = samples.T @ samples / len(samples)
    covariance *= len(covariance) / np.trace(covariance)
    covariance += 1e-6 * np.eye(len(covariance))
    return np.asarray(np.linalg.cholesky(covariance), np.float64)


def _line(levels: Floats, variances: Floats) -> tuple[float, float]:
    """Return offset and slope of the variance over brightness, least squares, neither negative."""
    apart = levels - levels.mean()
    spread = float((apart**2).sum())
    slope = max(0.0, float((apart * variances).sum()) / spread) if spread else 0.0
    offset = float(variances.mean()) - slope * float(levels.mean())
    if offset < 0:
        return 0.0, float((levels * variances).sum() / max((levels**2).sum(), 1e-20))
    return offset, slope
