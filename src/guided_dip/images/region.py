"""A region of interest: only that part of a picture is restored, the rest stays as it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guided_dip.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from guided_dip.images.picture import Picture


@dataclass(frozen=True)
class Region:
    """Part of a picture, in pixels from its top left corner."""

    x: int
    y: int
    width: int
    height: int

    def check(self, picture: Picture) -> None:
        """Refuse a region that does not lie in a picture.

        Parameters
        ----------
        picture
            The picture.

        Raises
        ------
        InputError
            If so.
        """
        height, width = picture.pixels.shape[:2]
        if self.x + self.width > width or self.y + self.height > height:
            raise InputError(
                f"--region {self}: does not lie in a picture of {width}x{height} pixels; try "
                f"0,0,{width},{height} or a part of that"
            )

    def of(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Cut it out of an array (H, W, ...)."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def cut(self, picture: Picture) -> Picture:
        """Cut it out of a picture."""
        alpha = None if picture.alpha is None else self.of(picture.alpha)
        return dataclasses.replace(picture, pixels=self.of(picture.pixels), alpha=alpha)

    def put_back(self, picture: Picture, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of a picture with those of the region replaced."""
        whole = picture.pixels.astype(pixels.dtype)  # 64-bit floats become 32-bit ones
        self.of(whole)[...] = pixels
        return whole

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


def parse_region(text: str) -> Region:
    """Read ``X,Y,WIDTH,HEIGHT``.

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
        raise InputError(f"--region {text}: begins at 0,0 or later, and has at least one pixel")
    return Region(x, y, width, height)
