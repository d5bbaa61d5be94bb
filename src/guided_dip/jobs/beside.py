"""What is given beside the picture: a mask, a kernel, a gain, or what a JPEG file itself tells."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from guided_dip.config import Config
    from guided_dip.images import Picture
    from guided_dip.region import Region
    from guided_dip.restoration import Known
    from guided_dip.white import White

NAMED = ("gaussian:", "motion:")
HALF = 0.5


def task_of(task: str | None, given: dict[str, Any]) -> str | None:
    """Return the task that is meant, where it is not named.

    Parameters
    ----------
    task
        Its name, if it was given.
    given
        What was given besides, by task; None or False where nothing was.
    """
    if task is not None:
        return task
    return next((name for name, value in given.items() if value), None)


def kernel_of(text: str | None) -> tuple[str | None, Path | None]:
    """Return a kernel's name or its file, whichever it is."""
    if text is None or text.startswith(NAMED):
        return text, None
    path = Path(text)
    if not path.suffix and not path.exists():
        return text, None  # a misspelt name: what reads names says which there are
    return None, path


def read_known(
    image: Path,
    config: Config,
    *,
    mask: Path | None = None,
    invert_mask: bool = False,
    kernel: Path | None = None,
    gain: Path | None = None,
    max_pixels: int,
) -> Known:
    """Read what is known besides the picture.

    Parameters
    ----------
    image
        The picture's file, of which a JPEG's tables are read.
    config
        Settings.
    mask
        A picture, white where pixels are missing.
    invert_mask
        It is black where they are missing.
    kernel, gain
        Pictures of the blur and of what each pixel was multiplied by.
    max_pixels
        Most pixels that each may have.

    Raises
    ------
    InputError
        If one of them is not usable.
    """
    from guided_dip.images import read, to_float
    from guided_dip.restoration import Known

    def gray(path: Path) -> NDArray[np.float32]:
        pixels = to_float(read(path, max_pixels=max_pixels).pixels)
        return pixels if pixels.ndim == 2 else pixels.mean(2)

    missing = None
    if mask is not None:
        missing = (gray(mask) > HALF) != invert_mask
    tables = None
    if config.task == "dejpeg":
        tables = _tables(image)
    return Known(
        mask=missing,
        kernel=None if kernel is None else gray(kernel),
        tables=tables,
        gain=None if gain is None else read_gain(gain, config.white, max_pixels=max_pixels),
    )


def read_gain(path: Path | str, white: White = "auto", *, max_pixels: int) -> NDArray[np.float32]:
    """Read a picture of what each pixel was multiplied by.

    Parameters
    ----------
    path
        The file. Its white, which is 1, is its own: where it is as dim as the picture, as the same
        camera makes both, it is found in the same way.
    white
        The picture's, as the settings have it: with ``"type"`` the file's is its type's, too.
    max_pixels
        Most pixels that it may have.

    Raises
    ------
    InputError
        If it is not usable.
    """
    from guided_dip.images import in_units_of_white, read

    pixels = read(path, max_pixels=max_pixels).pixels
    return in_units_of_white(pixels, "type" if white == "type" else "auto")


def in_region(known: Known, region: Region, picture: Picture) -> Known:
    """Cut what is as large as the picture down to a region of it.

    Parameters
    ----------
    known
        What is known besides the picture; what is of another size is left for others to refuse.
    region
        The region.
    picture
        The whole picture.
    """
    size = picture.pixels.shape[:2]

    def part(array: NDArray[Any] | None) -> NDArray[Any] | None:
        return region.of(array) if array is not None and array.shape[:2] == size else array

    return dataclasses.replace(known, mask=part(known.mask), gain=part(known.gain))


def on_each_page(known: Known, pages: int, picture: Picture) -> Known:
    """Have a mask that is as large as a page be of each of them.

    Parameters
    ----------
    known
        What is known besides the picture; a mask of another size is left for others to refuse.
    pages
        How many there are, below one another in the picture.
    picture
        The picture.
    """
    import numpy as np

    height, width = picture.pixels.shape[:2]
    if known.mask is None or known.mask.shape != (height // pages, width):
        return known
    return dataclasses.replace(known, mask=np.tile(known.mask, (pages, 1)))


def _tables(path: Path) -> Any:
    from PIL import Image, UnidentifiedImageError

    from guided_dip.errors import InputError
    from guided_dip.jpeg import read_tables

    try:
        with Image.open(path) as image:
            return read_tables(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as a JPEG file ({error})") from None
