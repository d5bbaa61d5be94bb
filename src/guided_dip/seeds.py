"""One rule for every random draw: a generator is derived from what it is for.

A draw's seed is a stable digest of the run's seed, the purpose of the draw and whatever tells it
apart (the stage, the step). So the draws of one purpose never shift those of another, a step's
draws do not depend on how many came before, and no state has to be saved to resume a run.
"""

from __future__ import annotations

import hashlib

import torch


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
    """
    text = "/".join([str(seed), purpose, *map(str, keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *keys: int) -> torch.Generator:
    """Return a CPU generator for one draw; the arguments are those of `derive`."""
    return torch.Generator().manual_seed(derive(seed, purpose, *keys))


def normal(like: torch.Tensor, seed: int, purpose: str, *keys: int) -> torch.Tensor:
    """Draw N(0, 1) noise of the shape, dtype and device of `like`.

    The draw is made on the CPU whatever the device, so that a GPU run sees the same noise.
    """
    noise = torch.randn(like.shape, generator=generator(seed, purpose, *keys), dtype=like.dtype)
    return noise.to(like.device, non_blocking=True)
