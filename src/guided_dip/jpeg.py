"""What JPEG took away: the noise of its rounding, and the intervals that bound it.

JPEG divides the DCT coefficients of 8 x 8 blocks by the steps of a table in the file and rounds
them. So of each coefficient an interval is known, ``c - q/2`` to ``c + q/2``, and the noise of the
decoded image is what the rounding did: about ``q^2 / 12`` where a coefficient survived, and less
where it became 0, as most of these were small. How small, what survived tells: coefficients of one
frequency are distributed as ``exp(-|c| / b)`` (Lam & Goodman, IEEE TIP 9, 2000), whose ``b``
follows from the part that became 0.

Luma's coefficients are known exactly; those of chroma, which most files hold at half size and
decoders smooth, but for that.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from torch import Tensor
from torch.nn import functional as F

from guided_dip.errors import InputError
from guided_dip.tiling import Window

BLOCK = 8
GRAY = 128 / 255  # which JPEG takes away before it transforms luma
CLASSES = 4  # of blocks, by how many of their coefficients survived
ENOUGH = 4  # coefficients of a frequency that survived, to tell how large the others were
FALL, USUAL = 1.3, 20.0  # power by which higher frequencies are weaker, and its weight in survivors
# Steps of luma at quality 50 that the standard gives as an example (ITU-T T.81, table K.1), which
# libjpeg scales.
USUAL_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    float,
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Tables:
    """The steps of a JPEG file's rounding, of 255, and by how much chroma is smaller.

    Attributes
    ----------
    luma, chroma : (8, 8)
        By vertical and horizontal frequency; chroma's is luma's in a gray file.
    smaller : (int, int)
        Rows and columns of luma for each of chroma.
    """

    luma: NDArray[np.float64]
    chroma: NDArray[np.float64]
    smaller: tuple[int, int]

    @property
    def quality(self) -> int:
        """The quality, 1 to 100, of the usual tables (libjpeg's) that are nearest to its own."""

        def distance(quality: int) -> float:
            share = 5000 / quality if quality < 50 else 200 - 2 * quality
            usual = np.clip(np.floor((USUAL_LUMA * share + 50) / 100), 1, 255)
            return float(np.abs(np.log(usual / self.luma)).sum())

        return min(range(1, 101), key=distance)


def read_tables(image: Image.Image) -> Tables:
    """Read the tables of an opened JPEG file.

    Parameters
    ----------
    image
        As Pillow opened it.

    Returns
    -------
    Tables
        Of luma and colour; how much smaller the colour planes are.

    Raises
    ------
    InputError
        If it is no JPEG file, or one of an unusual kind.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.quantization:
        raise InputError("there are no quantisation tables in it: try a JPEG file")
    if image.mode not in ("L", "RGB"):
        raise InputError(f"its colours are {image.mode}: try a gray or RGB file")
    tables = {
        key: np.array(table, float).reshape(BLOCK, BLOCK)
        for key, table in image.quantization.items()
    }
    layers = image.layer  # (component, horizontal and vertical sampling, table)
    luma = layers[0]
    if len(layers) == 1:
        return Tables(tables[luma[3]], tables[luma[3]], (1, 1))
    chroma = layers[1]
    if luma[1] % chroma[1] or luma[2] % chroma[2] or layers[2][1:3] != chroma[1:3]:
        raise InputError("its chroma is sampled in an unusual way: try converting it to PNG")
    smaller = (luma[2] // chroma[2], luma[1] // chroma[1])
    return Tables(tables[luma[3]], tables[chroma[3]], smaller)


class Rounding:
    """What the rounding of a decoded JPEG image did to it.

    Parameters
    ----------
    decoded : (1, C, H, W)
        The image, 1 is white.
    tables
        Of its file.

    Attributes
    ----------
    reach : int
        Pixels that are lost at each side of drawn noise: none.
    multiple : int
        What the rows and columns at which windows of it begin are multiples of: whole blocks.
    """

    reach = 0

    def __init__(self, decoded: Tensor, tables: Tables) -> None:
        self._size = (decoded.shape[-2], decoded.shape[-1])
        self._channels = decoded.shape[1]
        self._smaller = tables.smaller
        self.multiple = BLOCK * math.lcm(*tables.smaller)
        ycc = _ycc(_whole(decoded, tables.smaller))
        self._luma_step = _step(tables.luma, decoded)
        luma = _dct(ycc[:, :1] - GRAY)
        self._luma = torch.round(luma / self._luma_step) * self._luma_step
        self._luma_std = spread(self._luma, self._luma_step)
        if self._channels == 3:
            step = _step(tables.chroma, decoded)
            chroma = _dct(F.avg_pool2d(ycc[:, 1:], self._smaller))
            self._chroma_std = spread(torch.round(chroma / step) * step, step)

    @property
    def sigma(self) -> float:
        """Root mean square of its noise in luma."""
        return float(self._luma_std.pow(2).mean().sqrt())

    def part(self, window: Window | None) -> Rounding:
        """Return what the rounding did to a window of the image; None: to all of it.

        Parameters
        ----------
        window
            Begins at multiples of `multiple`, and may end beyond the image.
        """
        if window is None:
            return self
        part = copy.copy(self)
        rows, columns = window
        part._size = (rows.stop - rows.start, columns.stop - columns.start)
        part._luma, part._luma_std = (
            _blocks_of(each, window, self._smaller, self._smaller)
            for each in (self._luma, self._luma_std)
        )
        if self._channels == 3:
            part._chroma_std = _blocks_of(self._chroma_std, window, self._smaller, (1, 1))
        return part

    def __call__(self, white: Tensor) -> Tensor:
        """Turn white noise (1, C, H, W) into noise such as the rounding's."""
        whole = _whole(white, self._smaller)
        luma = _idct(_blocks(whole[:, :1]) * self._luma_std)
        if self._channels == 1:
            return self._cut(luma)
        down, across = self._smaller
        # The mean of so many white pixels is white again, and as strong, times the root.
        fewer = F.avg_pool2d(whole[:, 1:], self._smaller) * math.sqrt(down * across)
        chroma = _idct(_blocks(fewer) * self._chroma_std)
        if self._smaller != (1, 1):
            size = (luma.shape[-2], luma.shape[-1])
            chroma = F.interpolate(chroma, size=size, mode="bilinear", align_corners=False)
        return self._cut(_rgb(torch.cat([luma, chroma], 1)))

    def within(self, image: Tensor) -> Tensor:
        """Return the nearest image whose luma the file's could have been rounded from.

        Parameters
        ----------
        image : (1, C, H, W)
            On the device of the file's pixels, 1.0 is white.

        Returns
        -------
        Tensor
        """
        ycc = _ycc(_whole(image, self._smaller))
        low, high = self._luma - self._luma_step / 2, self._luma + self._luma_step / 2
        luma = _idct(_dct(ycc[:, :1] - GRAY).clamp(low, high)) + GRAY
        return self._cut(_rgb(torch.cat([luma, ycc[:, 1:]], 1)) if self._channels == 3 else luma)

    def _cut(self, image: Tensor) -> Tensor:
        return image[..., : self._size[0], : self._size[1]]


def spread(rounded: Tensor, step: Tensor) -> Tensor:
    """Return the standard deviation of what rounding took from each coefficient.

    Parameters
    ----------
    rounded : (1, C, h, w, 8, 8)
        The coefficients, multiples of their steps.
    step : (8, 8)
        The steps.

    Returns
    -------
    (1, C, h, w, 8, 8)
    """
    survived = (rounded.abs() > step / 2).to(rounded)
    alive = survived.flatten(-2)[..., 1:].sum(-1)  # of each block, without its mean
    edges = torch.quantile(alive.flatten(), torch.linspace(0, 1, CLASSES + 1).to(alive)[1:-1])
    kind = torch.bucketize(alive, edges)
    small = torch.zeros_like(rounded)
    for number in range(CLASSES):
        chosen = kind == number
        count = int(chosen.sum())
        if count:
            left = survived[chosen].sum(0)
            small[chosen] = _small(left, count, step).expand(count, BLOCK, BLOCK)
    return torch.where(survived > 0, step / math.sqrt(12), small)


def _small(survivors: Tensor, count: int, step: Tensor) -> Tensor:
    """Return the standard deviation of coefficients that became 0.

    Parameters
    ----------
    survivors : (8, 8)
        How many of each frequency did not.
    count
        Of how many.
    step : (8, 8)
        The steps of the rounding.
    """
    half = step / 2
    # Half a survivor more or less, so that none and all are no certainties.
    gone = 1 - survivors.clamp(0.5, count - 0.5) / count
    b = -half / torch.log1p(-gone)
    # Where next to none survived that is a bound, and often far above.
    known = survivors >= ENOUGH
    b = torch.where(known, b, torch.minimum(b, _expected(b, survivors * known)))
    tail = torch.exp(-half / b)
    within = (2 * b**2 - tail * (half**2 + 2 * b * half + 2 * b**2)) / (1 - tail)
    return within.clamp_min(0).sqrt()


def _expected(b: Tensor, told: Tensor) -> Tensor:
    """Return what lower frequencies lead one to expect of a Laplacian's `b`.

    It falls with a power of the frequency in each direction, which is `FALL` where nothing tells.

    Parameters
    ----------
    b : (8, 8)
        As it was read, or a bound.
    told : (8, 8)
        How many survivors it was read from; 0 where it is a bound.
    """
    line = -torch.log1p(torch.arange(BLOCK)).to(b)
    down, across = line[:, None].expand_as(b), line.expand_as(b)
    weights = told.clone()
    weights[0, 0] = 0  # blocks' means are distributed in another way
    if not weights.any():
        falling = torch.exp(FALL * (down + across))
        bound = (b / falling).flatten()[1:].min()
        return bound * falling
    terms = torch.stack([torch.ones_like(b), down, across], -1).flatten(0, 1)
    usual = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).to(b)
    roots = torch.cat([weights.flatten(), weights.new_full((2,), USUAL)]).sqrt()[:, None]
    aims = torch.cat([b.log().flatten(), b.new_full((2,), FALL)])[:, None]
    system = torch.cat([terms, usual])
    power = torch.linalg.lstsq((system * roots).double(), (aims * roots).double()).solution.to(b)
    expected: Tensor = (terms @ power).view_as(b).exp()
    return expected


def _step(table: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.from_numpy(table / 255).to(like)


def _whole(image: Tensor, smaller: tuple[int, int]) -> Tensor:
    """Fill up the last blocks, as encoders do, with the border's pixels."""
    height, width = image.shape[-2:]
    down, across = (BLOCK * part for part in smaller)
    return F.pad(image, (0, -width % across, 0, -height % down), mode="replicate")


def _blocks_of(
    each: Tensor, window: Window, smaller: tuple[int, int], fold: tuple[int, int]
) -> Tensor:
    """Return what each block (1, C, h, w, 8, 8) of an image has, of those in a window.

    Blocks of chroma are whole in it, each with `fold` rows and columns of blocks. Beyond the image
    there is what its last blocks have.
    """
    rows, columns = (
        torch.arange(
            part.start // (BLOCK * less) * parts, -(-part.stop // (BLOCK * less)) * parts
        ).clamp_max(count - 1)
        for part, less, parts, count in zip(window, smaller, fold, each.shape[2:4], strict=True)
    )
    return each[:, :, rows[:, None], columns]


def _cosines(like: Tensor) -> Tensor:
    n = np.arange(BLOCK)
    cosines = np.cos(np.pi * (2 * n[None] + 1) * n[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    cosines[0] /= math.sqrt(2)
    return torch.from_numpy(cosines).to(like)


def _blocks(image: Tensor) -> Tensor:
    """Part (1, C, H, W) into (1, C, H / 8, W / 8, 8, 8)."""
    rows: Tensor = image.unflatten(-1, (-1, BLOCK)).unflatten(-3, (-1, BLOCK))  # type: ignore[no-untyped-call]
    return rows.transpose(-3, -2)


def _dct(image: Tensor) -> Tensor:
    """Return the orthonormal DCT-II of each block."""
    cosines = _cosines(image)
    return cosines @ _blocks(image) @ cosines.mT


def _idct(coefficients: Tensor) -> Tensor:
    cosines = _cosines(coefficients)
    blocks = cosines.mT @ coefficients @ cosines
    return blocks.transpose(-3, -2).flatten(-2).flatten(-3, -2)


def _ycc(image: Tensor) -> Tensor:
    """Turn RGB into luma and two differences; gray is luma."""
    if image.shape[1] == 1:
        return image
    return torch.einsum("ij,bjhw->bihw", torch.tensor(_TO_YCC).to(image), image)


def _rgb(ycc: Tensor) -> Tensor:
    back = torch.linalg.inv(torch.tensor(_TO_YCC, dtype=torch.float64)).to(ycc)
    return torch.einsum("ij,bjhw->bihw", back, ycc)
