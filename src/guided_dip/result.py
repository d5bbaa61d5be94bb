"""What a run leaves behind: a record a step, scores where there is a clean image, the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.config import Config
from guided_dip.guidance import Plan
from guided_dip.metrics import psnr, ssim
from guided_dip.noise import NoiseModel
from guided_dip.residual import ResidualCheck
from guided_dip.sampling import ENOUGH
from guided_dip.tiling import Window, bands

SEEN = 3  # rows of each side that an SSIM sees, and has no value for at the picture's ends


@dataclass(frozen=True)
class Record:
    """What is kept of a step, as plain numbers.

    Attributes
    ----------
    step, stage
        0-based step and stage.
    t
        Timestep of the stage's guide, if it has one.
    loss
        Mean squared error with the target before the update.
    learning_rate
        Learning rate of the update.
    seconds
        Time since the fit began.
    psnr
        Of the step's raw output against the clean image, in dB; of a step on a square of the
        image, of that square; None without a clean image. Scoring only.
    """

    step: int
    stage: int
    t: int | None
    loss: float
    learning_rate: float
    seconds: float
    psnr: float | None = None


@dataclass(frozen=True)
class Scores:
    """A restoration compared with the clean image: PSNR in dB, SSIM in [-1, 1].

    Attributes
    ----------
    psnr
        In dB, data range 1; inf if the two are identical.
    ssim
        In [-1, 1]; 1 if they are identical.
    """

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Result:
    """A restoration and how it came about.

    Attributes
    ----------
    image
        The restoration; shape and dtype of the input (float32 for any float input).
    config
        The config with everything filled in.
    plan
        The plan that was carried out.
    noise
        The noise the restoration reckoned with; None where it needed to know none.
    records
        One record a step.
    snapshots
        (step, estimate) pairs along the run, estimates as float32 in [0, 1] units; of the middle
        512 x 512 pixels only, where final outputs are computed in tiles.
    seconds
        Time of the fit and the final estimate, and of looking across wide holes before it.
    peak_memory
        Most memory in use so far, in MiB: of the process, or of the GPU; None where it is not
        counted.
    together
        Number of runs that were computed together, and share seconds and memory.
    stopped_at
        Step at which an early-stopping rule had its smallest variance; None if there was no rule.
    rollbacks
        Steps at which the fit diverged, and from which it went back to go on at a smaller rate.
    spread
        Sample standard deviation of the outputs that the restoration averages: float32, the
        image's shape, in units of white; None where only one was taken.
    scores, scores_before
        The restoration and the input compared with the clean image, if one was given.
    note
        What the user should know about this result, or an empty string.
    residual
        Measures of what was taken away, and what of it does not fit the noise; None where there
        is nothing to hold it against.

    Examples
    --------
    >>> from guided_dip import restore
    >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (16, 16))
    >>> small = {"steps": 3, "backbone_options": {"width": 4}}
    >>> result = restore(noisy, noise="gaussian:25", **small)
    >>> result.image.shape, result.image.dtype.name, len(result.records)
    ((16, 16), 'float32', 3)
    >>> str(result.noise), result.config.seed, result.scores is None
    ('gaussian:25', 0, True)
    """

    image: NDArray[Any]
    config: Config
    plan: Plan
    noise: NoiseModel | None
    records: tuple[Record, ...]
    snapshots: tuple[tuple[int, NDArray[np.float32]], ...]
    seconds: float
    peak_memory: int | None = None
    together: int = 1
    stopped_at: int | None = None
    rollbacks: tuple[int, ...] = ()
    spread: NDArray[np.float32] | None = None
    residual: ResidualCheck | None = None
    scores: Scores | None = None
    scores_before: Scores | None = None
    note: str = ""


class Scoring:
    """Compares images with the clean one. Nothing it computes reaches the restoration.

    Parameters
    ----------
    clean : (H, W, C) float32
        The clean image.
    quantize
        ``none`` compares pixels clipped to [0, 1]; ``truncate``, 8-bit ones truncated toward zero.
    """

    def __init__(self, clean: NDArray[np.float32], quantize: str) -> None:
        self._quantize = quantize
        self._clean = clean

    def _prepared(self, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        clipped = np.clip(pixels, 0, 1).astype(np.float64)
        # In float32, as the pixels are: 255 * (k / 255) can fall short of k in float64.
        levels = np.clip(pixels, 0, 1) * np.float32(255)
        return levels.astype(np.uint8) / 255.0 if self._quantize == "truncate" else clipped

    def psnr(self, pixels: NDArray[np.float32], window: Window | None = None) -> float:
        """Return the PSNR in dB, data range 1; of pixels that show a window of the clean image.

        Parameters
        ----------
        pixels : (H, W, C) float32
            What is compared; clipped to [0, 1].
        window
            Rows and columns of the clean image that it shows; None: all of it.
        """
        clean = self._clean if window is None else self._clean[window]
        rows = list(bands(len(pixels), pixels.shape[1], ENOUGH))
        parts = [self._psnr(pixels[part], clean[part]) for part in rows]
        if len(parts) == 1:
            return parts[0]
        shares = [(part.stop - part.start) / len(pixels) for part in rows]
        error = sum(share * 10 ** (-found / 10) for share, found in zip(shares, parts, strict=True))
        return -10 * math.log10(error) if error else math.inf

    def _psnr(self, pixels: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
        return psnr(self._prepared(pixels), self._prepared(clean), data_range=1.0)

    def scores(self, pixels: NDArray[np.float32]) -> Scores:
        """Return PSNR and SSIM.

        Parameters
        ----------
        pixels : (H, W, C) float32
            What is compared with the whole clean image.
        """
        return Scores(self.psnr(pixels), self._ssim(pixels))

    def _ssim(self, pixels: NDArray[np.float32]) -> float:
        """Return the SSIM, of a large image the mean over bands of rows that share their edges."""
        height, width = pixels.shape[:2]
        found, shares = [], []
        for rows in bands(height, width, ENOUGH):
            near = slice(max(0, rows.start - SEEN), min(height, rows.stop + SEEN))
            one, other = self._prepared(pixels[near]), self._prepared(self._clean[near])
            found.append(ssim(one, other, data_range=1.0, channel_axis=-1))
            shares.append(near.stop - near.start - 2 * SEEN)
        return found[0] if len(found) == 1 else float(np.average(found, weights=shares))
