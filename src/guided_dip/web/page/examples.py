"""Example pictures, made of scikit-image's own: nothing is fetched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEED = 20240


@dataclass(frozen=True)
class Made:
    """The files of an example, PNG each.

    Attributes
    ----------
    noisy
        To be restored.
    clean
        What it was made of.
    shape
        Of the pixels of both, (H, W) or (H, W, 3).
    mask
        White where pixels are missing; None where none are.
    """

    noisy: bytes
    clean: bytes
    shape: tuple[int, ...]
    mask: bytes | None = None


@dataclass(frozen=True)
class Example:
    """An example picture.

    Attributes
    ----------
    name
        In URLs.
    title
        For people.
    source
        Name of one of scikit-image's pictures.
    box
        (top, left, side) of what is cut out of it.
    sigma
        Of the noise, of 255.
    scratched
        Scratches hide some of it.
    """

    name: str
    title: str
    source: str
    box: tuple[int, int, int]
    sigma: float = 25.0
    scratched: bool = False

    def make(self) -> Made:
        """Make its files; the same bytes each time."""
        return _make(self)


EXAMPLES = (
    Example("astronaut", "Astronaut, noise 25", "astronaut", (0, 130, 192)),
    Example("cat", "Cat's eye, noise 50", "chelsea", (40, 90, 192), 50.0),
    Example("camera", "Camera, grey, noise 25", "camera", (60, 160, 192)),
    Example("scratches", "Coffee, scratched", "coffee", (70, 200, 192), 0.0, scratched=True),
)
NAMES = tuple(example.name for example in EXAMPLES)


def find(name: str) -> Example | None:
    """Return the example of a name, if there is one."""
    return next((example for example in EXAMPLES if example.name == name), None)


@lru_cache(maxsize=len(EXAMPLES))
def _make(example: Example) -> Made:
    import numpy as np

    from guided_dip.web.page.aside import png

    clean = picture(example)
    noise = np.random.default_rng(SEED).standard_normal(clean.shape) * example.sigma
    noisy = np.clip(np.rint(clean + noise), 0, 255)
    if not example.scratched:
        return Made(png(noisy), png(clean), clean.shape)
    mask = _scratches(clean.shape[0], clean.shape[1])
    noisy[mask] = 255
    return Made(png(noisy), png(clean), clean.shape, png(mask * 255))


def picture(example: Example) -> NDArray[np.uint8]:
    """Return an example's clean pixels, (H, W) or (H, W, 3)."""
    import skimage.data

    top, left, side = example.box
    pixels: Any = getattr(skimage.data, example.source)()
    cut: NDArray[np.uint8] = pixels[top : top + side, left : left + side]
    return cut


def _scratches(height: int, width: int) -> NDArray[np.bool_]:
    """Draw a few bent lines and specks."""
    import numpy as np

    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for number, (at, slope, bend) in enumerate(((0.2, 0.3, 9), (0.55, -0.2, 6), (0.8, 0.1, 12))):
        line = at * width + slope * rows + bend * np.sin(rows / height * math.tau + number)
        mask |= np.abs(columns - line) < 1.6
    random = np.random.default_rng(SEED)
    for top, left in zip(
        random.integers(0, height, 14), random.integers(0, width, 14), strict=True
    ):
        mask |= (rows - top) ** 2 + (columns - left) ** 2 < 6
    return mask
