"""How large a part of a picture a run looks at, at a time: by the picture's size, and by memory.

A step of a fit to the whole picture, and an output of all of it, take memory in proportion to its
pixels: some thousand bytes each. So a large picture is fitted to random squares of it, and its
outputs are computed in tiles; what is left to grow with it are a few images.

The bytes of a pixel are measured (``python benchmarks/size.py --bytes``) and rounded up.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from guided_dip.errors import InputError, quoted

# Pixels of the largest picture to whose whole the last guides are fitted, if memory suffices.
WHOLE = 2**19
SQUARE, TILE = 256, 512  # pixels a side of a large picture's
# The smallest squares to fit to, and what their side is a multiple of, in pixels.
SMALLEST_PATCH, PATCH_MULTIPLE = 96, 32
SMALLEST_TILE, TILE_MULTIPLE = 64, 64
MARGIN = 32  # pixels around a tile
LIFTED = 3  # times a blur's reach, besides: how far its least squares see
FIRST_ON_SQUARES = 2  # guides of a picture whose last ones are fitted to its whole

PROGRAM = 480 * 2**20  # bytes; Python, PyTorch, the other libraries, and what malloc keeps
IMAGES = 16  # float32 copies of the picture, at most, at a time; a clean one, too, and plots
# Bytes a pixel and channel of the network: of a step, and of an output alone.
_STEP = {"float32": 58, "bfloat16": 35}
_OUTPUT = {"float32": 32, "bfloat16": 21}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,
}


@dataclass(frozen=True)
class Sizes:
    """What a run looks at, at a time; None where it is open.

    Attributes
    ----------
    patch
        Side of the random squares to fit to, in pixels; 0 for none.
    guides
        Number of guides that are fitted to them.
    tile
        Side of the tiles of final outputs, in pixels; 0 for all at once.
    """

    patch: int | None = None
    guides: int | None = None
    tile: int | None = None


@dataclass(frozen=True)
class Footprint:
    """What a run of the default network takes.

    Attributes
    ----------
    size
        Height and width of the picture in pixels.
    channels
        Of the picture.
    width
        Channels of the network.
    precision
        Of its arithmetic.
    on_gpu
        Whether the network computes where neither the program nor most images are.
    pages
        How many pages of equal height lie below one another in the picture.
    reach
        Pixels by which its image is larger than the picture at each side, at most.
    """

    size: tuple[int, int]
    channels: int = 3
    width: int = 48
    precision: str = "float32"
    on_gpu: bool = False
    pages: int = 1
    reach: int = 0

    @property
    def page(self) -> tuple[int, int]:
        """Height and width of a page in pixels."""
        return self.size[0] // self.pages, self.size[1]

    @property
    def pixels(self) -> int:
        """Of the picture."""
        return math.prod(self.size)

    def bytes(self, sizes: Sizes, count: int) -> int:
        """Return what a run of `count` guides takes at most, in bytes.

        Parameters
        ----------
        sizes
            Of squares and tiles.
        count
            At least 1.
        """
        program = 0 if self.on_gpu else PROGRAM
        whole_steps = not sizes.patch or (sizes.guides or 0) < count
        whole = math.prod(side + 2 * self.reach for side in self.size)
        step = whole if whole_steps else ((sizes.patch or 0) + 2 * self.reach) ** 2
        around = margin(self.reach) + self.reach
        output = min(whole, (sizes.tile + 2 * around) ** 2) if sizes.tile else whole
        kept = IMAGES * 4 * self.channels * self.pixels
        parts = (_STEP[self.precision] * step, _OUTPUT[self.precision] * output)
        return program + kept + self.width * max(parts)


def margin(reach: int) -> int:
    """Return how many pixels there are around a tile.

    Parameters
    ----------
    reach
        Pixels by which the image is larger than the picture at each side.
    """
    return MARGIN + LIFTED * reach


def choose(
    given: Sizes,
    footprint: Footprint,
    count: int,
    *,
    limit: int | None,
    stated: bool = False,
    squares: bool = True,
) -> Sizes:
    """Return what a run looks at, at a time, with what is open filled in.

    Parameters
    ----------
    given
        What is not open.
    footprint
        Of the run.
    count
        Number of guides.
    limit
        Most memory, in bytes; None for any.
    stated
        Whether it was stated by the user, who wants to know if it does not suffice.
    squares
        Whether the first guides of a small picture are fitted to squares of it.

    Raises
    ------
    InputError
        If the smallest parts do not fit into a stated limit.
    """
    small = _as_small(footprint.size, count) if squares else Sizes(0, 0, 0)
    whole = _filled(given, small)
    most = math.inf if limit is None else limit
    if footprint.pages == 1 and footprint.pixels <= WHOLE and footprint.bytes(whole, count) <= most:
        return whole
    sizes = whole
    for patch, tile in _smaller(footprint.page):
        sizes = _filled(given, Sizes(patch, count, tile))
        if footprint.bytes(sizes, count) <= most:
            return sizes
    needed = footprint.bytes(sizes, count)
    if stated:
        height, width = footprint.size
        raise InputError(
            f"a picture of {width}x{height} pixels takes {told_bytes(needed)}, more than the "
            f"{told_bytes(limit or 0)} of max_memory: try --max-memory {told_bytes(needed)}, or a "
            "smaller picture"
        )
    return sizes


def _filled(given: Sizes, usual: Sizes) -> Sizes:
    found = {name: value for name, value in vars(given).items() if value is not None}
    sizes = replace(usual, **found)
    return sizes if sizes.patch else replace(sizes, guides=found.get("guides", 0))


def _as_small(size: tuple[int, int], count: int) -> Sizes:
    """Squares of half the image's side, if it is large enough, for the first guides."""
    side = min(size) // 2 // PATCH_MULTIPLE * PATCH_MULTIPLE
    first = min(FIRST_ON_SQUARES, count - 1)
    return Sizes(side if side >= SMALLEST_PATCH else 0, first, 0)


def _smaller(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return sides of squares and tiles to try, from the largest to the smallest."""
    side = min(size)
    largest = min(SQUARE, side // PATCH_MULTIPLE * PATCH_MULTIPLE)
    narrow = [side if side >= PATCH_MULTIPLE else 0]  # no squares worth the name are in a strip
    patches = list(range(largest, SMALLEST_PATCH - 1, -PATCH_MULTIPLE)) or narrow
    tiles = range(TILE, largest, -TILE_MULTIPLE)
    return [(patches[0], tile) for tile in tiles] + [
        (patch, max(SMALLEST_TILE, patch)) for patch in patches
    ]


def parse_bytes(text: str, name: str = "max_memory") -> int:
    """Read an amount of memory.

    Parameters
    ----------
    text
        A number with a unit, such as ``3GiB``, ``800MB`` or ``2.5 G``; without one, bytes.
    name
        What it is for, for messages.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    InputError
        If it is none, or not above 0.

    Examples
    --------
    >>> parse_bytes("800MB"), parse_bytes("2KiB")
    (800000000, 2048)
    """
    found = re.fullmatch(
        r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]I?)?B?", text.strip().upper(), re.ASCII
    )
    amount = int(float(found[1]) * _UNITS[found[2] or ""]) if found else 0
    if not amount:
        raise InputError(f"{name} {quoted(text)} is no amount of memory: try 3GiB or 800MB")
    return amount


def told_bytes(amount: int) -> str:
    """Return an amount of memory as a message has it, rounded up.

    >>> told_bytes(2**30), told_bytes(10**9)
    ('1GiB', '954MiB')

    Parameters
    ----------
    amount
        In bytes.

    Returns
    -------
    str
    """
    if amount >= 2**30:
        return f"{math.ceil(amount / 2**30 * 10) / 10:g}GiB"
    return f"{math.ceil(amount / 2**20)}MiB"
