"""Noisy pictures to try: scikit-image's own, with noise added to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Layers = list[tuple[Any, dict[str, Any], str]]
SIDE = 128  # pixels
PAGES = 3


def _crop(name: str, row: int, column: int) -> NDArray[np.float32]:
    from skimage import data

    from guided_dip.images import to_float

    pixels = to_float(getattr(data, name)())
    return pixels[row : row + SIDE, column : column + SIDE]


def _noisy(pixels: NDArray[np.float32], noise: str, seed: int) -> NDArray[np.float32]:
    import numpy as np

    from guided_dip.noise import add_noise, parse_noise

    model = parse_noise(noise)
    assert model is not None, "there is some"
    return np.asarray(add_noise(pixels, model, seed), np.float32)


def noisy_astronaut() -> Layers:
    """Return a face, (128, 128, 3) uint8, with Gaussian noise of sigma 25/255."""
    import numpy as np

    from guided_dip.images import from_float

    pixels = _noisy(_crop("astronaut", 40, 160), "gaussian:25", 0)
    eight_bit = from_float(pixels, np.dtype(np.uint8))
    return [(eight_bit, {"name": "noisy astronaut", "rgb": True}, "image")]


def noisy_coins() -> Layers:
    """Return coins, (128, 128) uint16, with Gaussian noise of sigma 25/255."""
    import numpy as np

    from guided_dip.images import from_float

    pixels = _noisy(_crop("coins", 30, 30), "gaussian:25", 0)
    return [(from_float(pixels, np.dtype(np.uint16)), {"name": "noisy coins"}, "image")]


def few_photons() -> Layers:
    """Return a stack, (3, 128, 128) uint16, of photons that were counted, 30 at white."""
    import numpy as np

    crop = _crop("cell", 200, 200)
    bright = crop / crop.max()
    counts = [np.random.default_rng(page).poisson(30 * bright) for page in range(PAGES)]
    return [(np.stack(counts).astype(np.uint16), {"name": "few photons"}, "image")]
