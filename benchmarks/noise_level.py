"""How near the estimated noise level comes, beside scikit-image's estimator.

    python benchmarks/noise_level.py [--eight-bit] FOLDER...

For each folder of clean pictures and each sigma (of 255): the mean of the absolute relative errors
in percent over the pictures, then the lowest and the highest error. Noise is
`image + default_rng(0).standard_normal(shape) * sigma / 255` on the first 512 x 512 pixels;
`--eight-bit` clips and rounds the noisy pictures. Where `auto` calls the noise counted, that is
told apart, and not reckoned with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from skimage import restoration

from guided_dip.images import read, to_float
from guided_dip.noise import add_gaussian_noise, estimate_noise

SIGMAS = (5, 10, 15, 25, 50, 75)
LARGEST = 512  # pixels of a side
Estimator = Callable[[NDArray[Any]], float | None]


def axis(image: NDArray[Any]) -> Literal[-1] | None:
    """Return which axis of a picture holds channels."""
    return -1 if image.ndim == 3 else None


def ours(image: NDArray[Any]) -> float | None:
    """Return the project's estimate; None if the noise is called counted."""
    noise = estimate_noise(image, channel_axis=axis(image))
    return None if noise.gain else noise.sigma


def skimage(image: NDArray[Any]) -> float:
    """Return scikit-image's estimate (median absolute deviation of wavelet coefficients)."""
    channels = axis(image)
    return float(restoration.estimate_sigma(image, channel_axis=channels, average_sigmas=True))


def noisy(clean: NDArray[Any], sigma: float, eight_bit: bool) -> NDArray[Any]:
    """Return a picture with noise of sigma (of 255)."""
    pixels = add_gaussian_noise(clean[:LARGEST, :LARGEST], sigma / 255, seed=0)
    return np.rint(pixels.clip(0, 1) * 255) / 255 if eight_bit else pixels


def cell(pictures: list[NDArray[Any]], sigma: float, eight_bit: bool, estimate: Estimator) -> str:
    """Return the errors at one sigma."""
    found = [estimate(noisy(picture, sigma, eight_bit)) for picture in pictures]
    errors = [100 * (255 * level / sigma - 1) for level in found if level is not None]
    counted = len(found) - len(errors)
    text = f"{np.abs(errors).mean():.1f} ({min(errors):+.1f}, {max(errors):+.1f})"
    return f"{text}, {counted} counted" if counted else text


def main() -> None:
    """Print the table."""
    folders = [Path(name) for name in sys.argv[1:] if name != "--eight-bit"]
    eight_bit = "--eight-bit" in sys.argv
    print("| set | estimator | " + " | ".join(f"sigma {s}" for s in SIGMAS) + " |")
    print("|---" * (len(SIGMAS) + 2) + "|")
    for folder in folders:
        pictures = [to_float(read(path).pixels) for path in sorted(folder.glob("*.png"))]
        for estimator in (ours, skimage):
            cells = [cell(pictures, sigma, eight_bit, estimator) for sigma in SIGMAS]
            print(f"| {folder.name} | {estimator.__name__} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
