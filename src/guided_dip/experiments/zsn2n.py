"""Zero-Shot Noise2Noise, to compare with: a small network fitted to one noisy picture.

After Mansour and Heckel, "Zero-Shot Noise2Noise: Efficient Image Denoising without any Data",
CVPR 2023. Two downsampled pictures ``D_1 y`` and ``D_2 y`` are the means over the two diagonals of
each 2x2 block: nearly the same content, with independent noise. The network ``f`` foretells the
noise; with ``d(y) = y - f(y)`` the loss is the sum of

    residual     1/2 (||d(D_1 y) - D_2 y||^2 + ||d(D_2 y) - D_1 y||^2)
    consistency  1/2 (||d(D_1 y) - D_1 d(y)||^2 + ||d(D_2 y) - D_2 d(y)||^2)

each as a mean over pixels and channels. The result is ``d(y)``, clipped to [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d, mse_loss

from guided_dip import seeds
from guided_dip.engine import resolve_device, thread_count, to_array, to_tensor
from guided_dip.errors import InputError

CHANNELS = 48
SLOPE = 0.2  # of the leaky ReLU
LEARNING_RATE = 1e-3
EPOCHS = 2000
HALVED_EACH = 1000  # epochs
_DIAGONALS = (((0.0, 0.5), (0.5, 0.0)), ((0.5, 0.0), (0.0, 0.5)))


def downsampled(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means over the two diagonals of each 2x2 block.

    Parameters
    ----------
    y : (1, C, H, W)
        A picture; an odd last row or column is left out.

    Returns
    -------
    two tensors, (1, C, H // 2, W // 2)
    """
    channels = y.shape[1]
    first, second = (
        conv2d(
            y,
            torch.tensor(kernel, dtype=y.dtype, device=y.device).expand(channels, 1, 2, 2),
            stride=2,
            groups=channels,
        )
        for kernel in _DIAGONALS
    )
    return first, second


def zs_n2n(
    noisy: NDArray[np.floating[Any]], *, seed: int, epochs: int = EPOCHS
) -> NDArray[np.float32]:
    """Denoise a picture from itself alone; the noise level need not be known.

    Parameters
    ----------
    noisy
        (H, W) or (H, W, C), 1.0 is white; at least 2x2 pixels.
    seed
        Of the network's weights.
    epochs
        Steps; the learning rate is halved each 1000 of them.

    Returns
    -------
    ndarray
        float32 in [0, 1], the shape of ``noisy``.

    Raises
    ------
    InputError
        If the picture is smaller.
    """
    if min(noisy.shape[:2]) < 2:
        raise InputError(f"zs-n2n needs 2x2 pixels or more, not {noisy.shape}: try a larger image")
    device = resolve_device("auto")
    pixels = np.atleast_3d(noisy).astype(np.float32)
    y = to_tensor(pixels, device)
    with thread_count(1):
        network = _network(y.shape[1], seed).to(device)
        _fit(network, y, epochs)
        with torch.no_grad():
            restored = (y - network(y)).clamp(0, 1)
    return to_array(restored).reshape(noisy.shape)


def _network(channels: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive(seed, "zs-n2n"))
        return nn.Sequential(
            nn.Conv2d(channels, CHANNELS, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(CHANNELS, channels, 1),
        )


def _fit(network: nn.Module, y: Tensor, epochs: int) -> None:
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.StepLR(adam, HALVED_EACH, gamma=0.5)
    for _ in range(epochs):
        adam.zero_grad()
        _loss(network, y).backward()  # type: ignore[no-untyped-call]
        adam.step()
        schedule.step()


def _loss(network: nn.Module, y: Tensor) -> Tensor:
    first, second = downsampled(y)
    of_first, of_second = first - network(first), second - network(second)
    below_first, below_second = downsampled(y - network(y))
    residual = mse_loss(of_first, second) + mse_loss(of_second, first)
    consistency = mse_loss(of_first, below_first) + mse_loss(of_second, below_second)
    return (residual + consistency) / 2
