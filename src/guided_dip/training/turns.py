"""Pictures turned and flipped, alone or several as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TURNS = 8  # four quarter turns, with and without a flip


def turn(image: Tensor, k: int) -> Tensor:
    """Turn a (…, H, W) image by ``k % 4`` quarter turns, and flip it first if ``k >= 4``.

    Parameters
    ----------
    image : (..., H, W)
        It.
    k
        From 0 to 7.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> image = torch.arange(4).reshape(2, 2)
    >>> all(torch.equal(unturn(turn(image, k), k), image) for k in range(TURNS))
    True
    """
    if k >= 4:
        image = image.flip(-1)
    return torch.rot90(image, k % 4, (-2, -1)) if k % 4 else image


def unturn(image: Tensor, k: int) -> Tensor:
    """Undo `turn`.

    Parameters
    ----------
    image : (..., H, W)
        Turned.
    k
        As it was turned by.

    Returns
    -------
    Tensor
    """
    if k % 4:
        image = torch.rot90(image, -(k % 4), (-2, -1))
    return image.flip(-1) if k >= 4 else image


def turned(images: Sequence[Tensor], turns: Sequence[int]) -> list[Tensor]:
    """Turn each image its own way.

    Parameters
    ----------
    images : (1, C, H, W) each
        They.
    turns
        One for each, from 0 to 7.

    Returns
    -------
    list of Tensor
    """
    return [turn(image, k) for image, k in zip(images, turns, strict=True)]


def unturned(batch: Tensor, turns: Sequence[int]) -> Tensor:
    """Undo `turned` in a batch of images.

    Parameters
    ----------
    batch : (B, C, H, W)
        Turned.
    turns
        As its images were turned by; one for all of them, or one each.

    Returns
    -------
    Tensor
    """
    if len(turns) == 1 or not any(turns):
        return unturn(batch, turns[0])
    return joined([unturn(x, k) for x, k in zip(torch.split(batch, 1), turns, strict=True)])


def joined(images: Sequence[Tensor]) -> Tensor:
    """Return images (1, C, H, W) as a batch; one as it is.

    Parameters
    ----------
    images : (1, C, H, W) each
        Of one size.
    """
    return images[0] if len(images) == 1 else torch.cat(tuple(images))
