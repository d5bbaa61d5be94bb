"""Filling missing pixels in smoothly, at once: what a network begins with, and makes better.

*Push and pull* (Gortler, Grzeszczuk, Szeliski and Cohen, "The Lumigraph", SIGGRAPH 1996): known
pixels are averaged to images of half the size, again and again, until none is missing, and each
missing pixel is interpolated from the next smaller one. Larger holes are then bent like a sheet of
metal that is held at their rims, whose bending energy ``|L u|^2`` (L the Laplacian) is least.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from guided_dip.operators import solved

# Pixels a side of a square that a wide hole has room for, and of the rim around such squares that
# belongs to it.
WIDE, RIM = 21, 4
RELAXED = 2  # times each missing pixel becomes the mean of its neighbours
BENDINGS = 20  # rounds of conjugate gradients


def filled(image: Tensor, known: Tensor) -> Tensor:
    """Fill missing pixels in by push and pull.

    Parameters
    ----------
    image : (1, C, H, W)
        Whatever is in its missing pixels is of no account.
    known : (1, 1, H, W)
        1 where a pixel is known, 0 where it is missing.

    Returns
    -------
    (1, C, H, W)
        The known pixels as they were; 0 everywhere if none is known.
    """
    levels = [(image * known, known)]
    while max(levels[-1][0].shape[-2:]) > 1:
        levels.append(_halved(*levels[-1]))
    whole = levels[-1][0]
    for values, weight in reversed(levels[:-1]):
        height, width = values.shape[-2:]
        size = (height + height % 2, width + width % 2)
        larger = F.interpolate(whole, size=size, mode="bilinear", align_corners=False)
        whole = values + larger[..., :height, :width] * (1 - weight)
        for _ in range(RELAXED):
            whole = values + (whole + _laplacian(whole) / 4) * (1 - weight)
    return whole


def bent(image: Tensor, known: Tensor) -> Tensor:
    """Fill holes in as smoothly as sheet metal bends.

    Parameters
    ----------
    image, known
        As for `filled`.

    Returns
    -------
    (1, C, H, W)
        Known pixels are as they were.
    """
    missing, whole = 1 - known, filled(image, known)

    def bending(image: Tensor) -> Tensor:
        return missing * _laplacian(_laplacian(image))

    return solved(bending, -bending(whole), whole, BENDINGS)


def wide_part(missing: Tensor) -> Tensor:
    """Return the wide holes of a mask, without the narrow ones.

    Parameters
    ----------
    missing : (1, 1, H, W)
        1 where a pixel is missing, else 0.

    Returns
    -------
    (1, 1, H, W)
        1 in the wide holes, else 0.
    """
    middles = 1 - _largest_around(1 - missing, WIDE)
    return missing * _largest_around(middles, WIDE + 2 * RIM)


def _largest_around(image: Tensor, side: int) -> Tensor:
    """Return the largest value in a square around each pixel."""
    rows = F.max_pool2d(image, (side, 1), 1, (side // 2, 0))
    return F.max_pool2d(rows, (1, side), 1, (0, side // 2))


def _halved(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return an image of half the size, each pixel the mean of the known ones it stands for."""
    beyond = (0, values.shape[-1] % 2, 0, values.shape[-2] % 2)
    share = F.avg_pool2d(F.pad(weight, beyond), 2)
    mean = F.avg_pool2d(F.pad(values, beyond), 2) / share.clamp_min(1e-8)
    known = (share > 0).to(share)
    return mean * known, known


def _laplacian(image: Tensor) -> Tensor:
    """Return the sum of four neighbours less four times a pixel, mirrored at the borders."""
    wide = F.pad(image, (1, 1, 1, 1), mode="replicate")
    rows = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1]
    columns = wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
    laplacian: Tensor = rows + columns - 4 * image
    return laplacian


def shown(measured: Tensor, kept: Tensor, *, holes: bool) -> Tensor:
    """Return an image filled in where it is not kept, and where it is kept, (1, C + 1, H, W).

    Parameters
    ----------
    measured : (1, C, H, W)
        The image; what it has where it is not kept is not looked at.
    kept : (1, 1, H, W)
        1 where a pixel is shown, 0 where it is missing or hidden.
    holes
        Whether holes are closed by least bending, which takes longer; else by averages over
        growing squares.
    """
    with torch.no_grad():
        return torch.cat([(bent if holes else filled)(measured, kept), kept], 1)
