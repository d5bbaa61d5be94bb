"""How near the estimated noise level comes, beside scikit-image's estimator.

    python benchmarks/noise_level.py FOLDER...

For each folder of clean pictures and each sigma (of 255): the mean and the largest relative error
in percent over the pictures, and the estimate on the clean pictures themselves. Noise is
`image + default_rng(0).standard_normal(shape) * sigma / 255`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import restoration

from guided_dip.images import read, to_float
from guided_dip.noise import add_gaussian_noise, estimate_sigma

SIGMAS = (5, 10, 15, 25, 50)
Estimator = Callable[[NDArray[Any]], float]


def ours(image: NDArray[Any]) -> float:
    """Return the project's estimate."""
    return estimate_sigma(image, channel_axis=-1 if image.ndim == 3 else None)


def skimage(image: NDArray[Any]) -> float:
    """Return scikit-image's estimate (median absolute deviation of wavelet coefficients)."""
    axis = -1 if image.ndim == 3 else None
    return float(restoration.estimate_sigma(image, channel_axis=axis, average_sigmas=True))


def row(pictures: list[NDArray[Any]], estimate: Estimator) -> str:
    """Return one row of the table: errors at each sigma, then the estimate on clean pictures."""
    cells = []
    for sigma in SIGMAS:
        found = [estimate(add_gaussian_noise(x, sigma / 255, seed=0)) * 255 for x in pictures]
        errors = 100 * np.abs(np.array(found) / sigma - 1)
        cells.append(f"{errors.mean():.1f} ({errors.max():.0f})")
    clean = 255 * np.mean([estimate(x) for x in pictures])
    return " | ".join([*cells, f"{clean:.1f}"])


def main() -> None:
    """Print the table."""
    print("| set | estimator | " + " | ".join(f"sigma {s}" for s in SIGMAS) + " | clean |")
    print("|---" * (len(SIGMAS) + 3) + "|")
    for folder in map(Path, sys.argv[1:]):
        pictures = [to_float(read(path).pixels) for path in sorted(folder.glob("*.png"))]
        for estimator in (ours, skimage):
            print(f"| {folder.name} | {estimator.__name__} | {row(pictures, estimator)} |")


if __name__ == "__main__":
    main()
