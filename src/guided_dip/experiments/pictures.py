"""Clean pictures that experiments work on: files, or crops of some that scikit-image ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.images import read
from guided_dip.runs import Source


@dataclass(frozen=True)
class Crop:
    """A square of a picture that scikit-image ships.

    Attributes
    ----------
    file
        Its name.
    title
        What is seen, for people.
    top, left, side
        In pixels.
    """

    file: str
    title: str
    top: int
    left: int
    side: int


FACE = Crop("astronaut.png", "astronaut.png (the face)", 0, 96, 256)
SHIPPED: Mapping[str, Crop] = {
    "astronaut": FACE,
    "chelsea": Crop("chelsea.png", "chelsea.png (a cat's face)", 0, 100, 256),
    "ihc": Crop("ihc.png", "ihc.png (stained tissue)", 128, 128, 256),
}


def shipped_picture(crop: Crop) -> tuple[Source, NDArray[Any]]:
    """Cut a square out of a picture that scikit-image ships.

    Parameters
    ----------
    crop
        The square.

    Returns
    -------
    source : Source
        The whole picture's file, by the crop's title.
    pixels : (side, side, 3)
        The square.
    """
    from skimage import data

    path = Path(data.__file__).with_name(crop.file)
    square = read(path).pixels[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    return replace(Source.of(path), name=crop.title), np.ascontiguousarray(square)


def opened_picture(path: Path) -> tuple[Source, NDArray[Any]]:
    """Read a picture file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    source : Source
        Where it comes from.
    pixels : (H, W) or (H, W, 3)
        Its colours, without alpha.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    pixels = read(path).unmultiplied().pixels
    return Source.of(path), pixels


def largest_square(pixels: NDArray[Any]) -> NDArray[Any]:
    """Cut the largest square out of a picture's middle.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C)
        The picture.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
