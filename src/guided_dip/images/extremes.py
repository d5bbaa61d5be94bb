"""Between which values the pages of a file lie, so that one white goes for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import InputError, quoted
from guided_dip.images.files import DEFAULT_MAX_PIXELS, count_pages, read
from guided_dip.images.picture import Picture, to_float
from guided_dip.white import Extremes, extremes_of, find_white, parse_white


def extremes_of_file(
    path: Path,
    picture: Picture | None = None,
    *,
    page: int | None = None,
    missing: NDArray[Any] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Extremes | None:
    """Return between which values a picture lies, or all pages of the TIFF file that it is one of.

    Pages are read until one of them shows that white is the type's; those that cannot be read are
    left out, as are those of another type.

    Parameters
    ----------
    path
        The file.
    picture
        What was read of it; None: its first page.
    page
        Which page that is; None: it is all of the file.
    missing : (H, W), optional
        Pixels of each page that do not count.
    max_pixels
        As for `read`.

    Returns
    -------
    Extremes or None
        As `extremes_of`.
    """
    found = None if picture is None else extremes_of(picture.pixels, missing)
    if picture is not None and (page is None or found is None):
        return found
    for pixels in _pages(path, page, max_pixels):
        if found is not None and found.are_bright:
            break
        one = extremes_of(pixels, missing)
        found = one if found is None else found.joined(one)
        if found is None:
            break
    return found


def white_of_file(
    path: str | Path,
    *,
    page: int | None = None,
    missing: NDArray[Any] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> float | str:
    """Return the white of a file's pictures: what ``white="auto"`` finds where it sees all of it.

    Parameters
    ----------
    path, page, missing, max_pixels
        As for `extremes_of_file`.

    Returns
    -------
    float or str
        A value of its pixels, or ``"type"``; for `guided_dip.restore`, as ``white``.

    Raises
    ------
    InputError
        If the file, or the page, cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from guided_dip.images import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/counts.tif", Picture(np.full((4, 4), 1000, np.uint16)))
    ...     white_of_file(f"{folder}/counts.tif")
    1023.0
    """
    path = Path(path)
    one = page if page is not None or count_pages(path) == 1 else 0
    picture = read(path, page=one, max_pixels=max_pixels, nan_as_missing=True)
    found = extremes_of_file(path, picture, page=one, missing=missing, max_pixels=max_pixels)
    return find_white("auto", picture.pixels.dtype, found)[0]


def in_units_of_white(pixels: NDArray[Any], white: float | str = "auto") -> NDArray[np.float32]:
    """Bring a picture of its own to float32 where 1.0 is the white that is meant.

    Parameters
    ----------
    pixels : (H, W) or (H, W, C)
        All of it, without alpha.
    white
        ``"auto"``, ``"type"``, or a value of the pixels.

    Returns
    -------
    ndarray
        As `to_float`.

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> in_units_of_white(np.array([[0, 1023]], np.uint16)).tolist()
    [[0.0, 1.0]]
    """
    try:
        wanted = parse_white(white)
    except InputError as error:
        raise InputError(f"white cannot be {quoted(white)}: {error}") from None
    found, _ = find_white(wanted, pixels.dtype, extremes_of(pixels))
    return to_float(pixels, None if isinstance(found, str) else found)


def _pages(path: Path, known: int | None, max_pixels: int) -> Iterator[NDArray[Any]]:
    """Yield the pixels of each page of a TIFF file but one."""
    pages = count_pages(path)
    if pages == 1:  # or a FITS file, whose parts have nothing in common
        return
    for page in range(pages):
        if page != known:
            with suppress(InputError):
                yield read(path, page=page, max_pixels=max_pixels, nan_as_missing=True).pixels
