"""Deep Image Prior as the library deepinv has it, to compare with; only if the user installed it.

deepinv's `DeepImagePrior` with its `ConvDecoder`, both at their own defaults: 2500 steps of Adam at
0.01. deepinv needs torchvision, whose wheels go with one version of PyTorch each, so it is an extra
of its own. The decoder has 256 channels, which is work for a GPU.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from guided_dip import seeds
from guided_dip.engine import resolve_device, to_array, to_tensor

ITERATIONS, CHANNELS, LAYERS = 2500, 256, 7
BEGINNING = (4, 4)  # height and width of the decoder's input


def deepinv_dip(
    noisy: NDArray[np.floating[Any]],
    *,
    seed: int,
    iterations: int = ITERATIONS,
    channels: int = CHANNELS,
) -> NDArray[np.float32]:
    """Denoise a picture by deepinv's Deep Image Prior, run to its last step.

    Parameters
    ----------
    noisy
        (H, W) or (H, W, C), 1.0 is white.
    seed
        Of the network's weights and input.
    iterations, channels
        Steps, and channels of the decoder.

    Returns
    -------
    ndarray
        float32, the shape of ``noisy``.
    """
    deepinv: Any = importlib.import_module("deepinv")
    device = resolve_device("auto")
    pixels = np.atleast_3d(noisy).astype(np.float32)
    y = to_tensor(pixels, device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seeds.derive(seed, "deepinv-dip"))
        decoder = deepinv.models.ConvDecoder(
            tuple(y.shape[1:]), in_size=BEGINNING, layers=LAYERS, channels=channels
        )
        prior = deepinv.models.DeepImagePrior(
            decoder.to(device), img_size=(channels, *BEGINNING), iterations=iterations
        )
        restored = prior(y, deepinv.physics.Denoising()).detach()
    return to_array(restored).reshape(noisy.shape)
