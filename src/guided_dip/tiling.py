"""Tiles: a large picture in parts, each seen with a margin around it.

A convolutional network's output at a pixel depends on the pixels around it, the less the farther
they are. So a tile's output is computed from the tile and a margin, of which nothing is kept. A
network that halves the size some times depends on where its grid lies, too: with its margin, a tile
begins and ends at multiples of the grid's, so that all of them, turned and flipped as well, see the
same.

The pages of a stack may lie below one another in one picture: a window or a tile is of one page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

Window = tuple[slice, slice]  # rows and columns

BAND = 2**19  # pixels of a large image that are worked on at a time


def within(part: Window, window: Window) -> Window:
    """Return where a part of a picture lies in a window of it.

    Parameters
    ----------
    part
        Rows and columns of the picture.
    window
        The same, of what holds the part.
    """
    rows, columns = (
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(part, window, strict=True)
    )
    return rows, columns


@dataclass(frozen=True)
class Tile:
    """A part of a picture.

    Attributes
    ----------
    inner
        What it is there for.
    outer
        That with its margin; may end beyond the picture, by less than a multiple of the grid.
    """

    inner: Window
    outer: Window

    @property
    def core(self) -> Window:
        """Where the inner part lies in the outer one."""
        return within(self.inner, self.outer)


@dataclass(frozen=True)
class Tiling:
    """How a picture is parted into tiles.

    Attributes
    ----------
    size
        Height and width of the picture in pixels.
    side
        Largest side of a tile, without margin.
    margin
        Around each tile, where the picture does not end: at least so many pixels.
    multiple
        What the network's sizes are multiples of.
    pages
        How many pages of equal height lie below one another in it.
    beyond
        Whether a tile may end beyond the picture, at such a multiple.

    Examples
    --------
    >>> tiling = Tiling((100, 60), side=50, margin=8, multiple=4)
    >>> [(tile.inner[0], tile.outer[0]) for tile in tiling.tiles()][::2]
    [(slice(0, 50, None), slice(0, 60, None)), (slice(50, 100, None), slice(40, 100, None))]
    """

    size: tuple[int, int]
    side: int
    margin: int
    multiple: int
    pages: int = 1
    beyond: bool = True

    @property
    def whole(self) -> Window:
        """All of the picture."""
        height, width = self.size
        return slice(0, height), slice(0, width)

    def tiles(self, window: Window | None = None) -> Iterator[Tile]:
        """Yield the tiles of a window; None: of the whole picture.

        Parameters
        ----------
        window
            Rows and columns.

        Yields
        ------
        Tile
            From the top left, row by row.
        """
        rows, columns = window or self.whole
        height = self.size[0] // self.pages
        for top in range(rows.start - rows.start % height, rows.stop, height):
            part = slice(max(rows.start - top, 0), min(rows.stop - top, height))
            for tile in self._of_page((part, columns), (height, self.size[1])):
                yield Tile(_lower(tile.inner, top), _lower(tile.outer, top))

    def _of_page(self, window: Window, page: tuple[int, int]) -> Iterator[Tile]:
        spans = [
            [
                self._part(start, min(start + self.side, part.stop), size)
                for start in range(part.start, part.stop, self.side)
            ]
            for part, size in zip(window, page, strict=True)
        ]
        for (inner_rows, outer_rows), (inner_columns, outer_columns) in product(*spans):
            yield Tile((inner_rows, inner_columns), (outer_rows, outer_columns))

    def _part(self, start: int, stop: int, size: int) -> tuple[slice, slice]:
        """Return a part of a side, and that with its margin."""
        m = self.multiple
        first = max(0, (start - self.margin) // m)
        last = min(-(-size // m), -(-(stop + self.margin) // m))
        end = last * m if self.beyond else min(last * m, size)
        return slice(start, stop), slice(first * m, end)


def _lower(window: Window, rows: int) -> Window:
    """Move a window down."""
    return slice(window[0].start + rows, window[0].stop + rows), window[1]


def middle(size: tuple[int, int], side: int, multiple: int = 1, pages: int = 1) -> Window:
    """Return the window in the middle of a picture, of at most so many pixels a side.

    It begins at multiples of a number; of several pages below one another, in the middle one.

    Parameters
    ----------
    size
        Height and width of the picture in pixels.
    side
        Of the window, at most.
    multiple
        What its first row and column are multiples of.
    pages
        That lie below one another, of equal height.

    Examples
    --------
    >>> middle((100, 30), 40)
    (slice(30, 70, None), slice(0, 30, None))
    >>> middle((300, 30), 40, pages=3)
    (slice(130, 170, None), slice(0, 30, None))
    """
    page = (size[0] // pages, size[1])
    starts = [max(0, (length - side) // 2) // multiple * multiple for length in page]
    rows, columns = (slice(a, min(a + side, n)) for a, n in zip(starts, page, strict=True))
    return _lower((rows, columns), pages // 2 * page[0])


def bands(height: int, width: int, pixels: int) -> Iterator[slice]:
    """Yield the rows of a picture in even bands of at most about so many pixels.

    Parameters
    ----------
    height, width
        Of the picture, in pixels.
    pixels
        Of a band, at most; a band has one row at least.

    Examples
    --------
    >>> list(bands(5, 10, 20))
    [slice(0, 1, None), slice(1, 3, None), slice(3, 5, None)]
    """
    count = min(height, -(-height * width // pixels))
    for k in range(count):
        yield slice(height * k // count, height * (k + 1) // count)
