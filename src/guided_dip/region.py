"""A region of interest: only that part of a picture is restored, the rest stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guided_dip.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """Part of a picture, in pixels from its top left corner.

    Attributes
    ----------
    x, y
        Of its own top left corner, at least 0.
    width, height
        At least 1.
    """

    x: int
    y: int
    width: int
    height: int

    def check(self, pixels: NDArray[Any]) -> None:
        """Refuse a region that does not lie in a picture.

        Parameters
        ----------
        pixels : (H, W, ...)
            The picture's.

        Raises
        ------
        InputError
            If so.
        """
        height, width = pixels.shape[:2]
        if self.x + self.width > width or self.y + self.height > height:
            raise InputError(
                f"--region {self}: does not lie in a picture of {width}x{height} pixels; try "
                f"0,0,{width},{height} or a part of that"
            )

    def of(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Cut it out of an array (H, W, ...).

        Parameters
        ----------
        pixels : (H, W, ...)
            The whole picture's.

        Returns
        -------
        ndarray
            A view of it.
        """
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def put_back(self, pixels: NDArray[Any], part: NDArray[Any]) -> NDArray[Any]:
        """Return a picture's pixels with those of the region replaced, in these ones' type.

        Parameters
        ----------
        pixels : (H, W, ...)
            The whole picture's; not modified.
        part : (height, width, ...)
            The region's.

        Returns
        -------
        ndarray
        """
        whole = pixels.astype(part.dtype)  # 64-bit floats become 32-bit ones
        self.of(whole)[...] = part
        return whole

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


def parse_region(text: str) -> Region:
    """Read ``X,Y,WIDTH,HEIGHT``.

    Parameters
    ----------
    text
        Four whole numbers, separated by commas.

    Returns
    -------
    Region

    Raises
    ------
    InputError
        If it is something else.

    Examples
    --------
    >>> parse_region("10,20,300,200")
    Region(x=10, y=20, width=300, height=200)
    """
    try:
        x, y, width, height = (int(word) for word in text.split(","))
    except ValueError:
        raise InputError(
            f"--region {text}: try X,Y,WIDTH,HEIGHT in pixels, such as 100,50,256,256"
        ) from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise InputError(
            f"--region {text}: a part begins at 0,0 or later and has at least one pixel; try "
            "0,0,256,256"
        )
    return Region(x, y, width, height)
