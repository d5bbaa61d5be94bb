"""One rule for every random draw: a generator is derived from what it is for.

A draw's seed is a stable digest of the run's seed, the purpose of the draw and whatever tells it
apart (the stage, the step). So the draws of one purpose never shift those of another, a step's
draws do not depend on how many came before, and no state has to be saved to resume a run.
"""

from __future__ import annotations

import hashlib

import torch

BLOCK = 128  # pixels a side, of which a field of noise is drawn at once


def derive(seed: int, purpose: str, *keys: int) -> int:
    """Return a 63-bit seed for one draw.

    Parameters
    ----------
    seed
        Seed of the run.
    purpose
        What the draw is for, such as ``"z"`` or ``"eta"``.
    *keys
        What tells this draw apart from others of its purpose, such as the stage or the step.

    Examples
    --------
    >>> derive(0, "eta", 7) == derive(0, "eta", 7), derive(0, "eta", 7) == derive(0, "eta", 8)
    (True, False)
    """
    text = "/".join([str(seed), purpose, *map(str, keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *keys: int) -> torch.Generator:
    """Return a CPU generator for one draw; the arguments are those of `derive`.

    Parameters
    ----------
    seed, purpose, *keys
        As for `derive`.

    Returns
    -------
    torch.Generator
    """
    return torch.Generator().manual_seed(derive(seed, purpose, *keys))


def normal(like: torch.Tensor, seed: int, purpose: str, *keys: int) -> torch.Tensor:
    """Draw N(0, 1) noise of the shape, dtype and device of `like`.

    The draw is made on the CPU whatever the device, so that a GPU run sees the same noise.

    Parameters
    ----------
    like
        Its shape, dtype and device count.
    seed, purpose, *keys
        As for `derive`.

    Returns
    -------
    Tensor
    """
    noise = torch.randn(like.shape, generator=generator(seed, purpose, *keys), dtype=like.dtype)
    return noise.to(like.device, non_blocking=True)


def field(
    like: torch.Tensor, rows: slice, columns: slice, seed: int, purpose: str, *keys: int
) -> torch.Tensor:
    """Draw a window of an endless plane of N(0, 1) noise: the same at a pixel in every window.

    Parameters
    ----------
    like : (1, C, H, W)
        Its channels, dtype and device count, not its size.
    rows, columns
        The window; before 0 as well.
    seed, purpose, *keys
        As for `derive`.

    Returns
    -------
    (1, C, rows, columns)
    """
    channels = like.shape[1]
    noise = torch.empty(
        (1, channels, rows.stop - rows.start, columns.stop - columns.start), dtype=like.dtype
    )
    for down in range(rows.start // BLOCK, -(-rows.stop // BLOCK)):
        for across in range(columns.start // BLOCK, -(-columns.stop // BLOCK)):
            block = torch.randn(
                (1, channels, BLOCK, BLOCK),
                generator=generator(seed, purpose, *keys, down, across),
                dtype=like.dtype,
            )
            there, from_rows = _shared(rows, down)
            here, from_columns = _shared(columns, across)
            noise[..., there, here] = block[..., from_rows, from_columns]
    return noise.to(like.device, non_blocking=True)


def _shared(part: slice, block: int) -> tuple[slice, slice]:
    """Return what a part and a block share: its place in the part, and in the block."""
    first = max(part.start, block * BLOCK)
    last = min(part.stop, (block + 1) * BLOCK)
    return slice(first - part.start, last - part.start), slice(
        first - block * BLOCK, last - block * BLOCK
    )
