"""Where and in what arithmetic the network runs: device, precision, memory layout, threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from guided_dip.backbones.bfloat16 import InBfloat16
from guided_dip.errors import InputError, choices

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there.

    Parameters
    ----------
    name
        One of these.

    Returns
    -------
    torch.device

    Raises
    ------
    InputError
        If there is no such device on this machine.
    """
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (index and not index.isdigit()):
        meant = choices("cuda" if kind == "gpu" else kind, DEVICES)
        raise InputError(f"unknown device '{name}': {meant}, or cuda:N")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else _mps_or_cpu())
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if int(index or 0) >= present:
        there = describe_devices()
        raise InputError(f"device '{name}' is not on this machine: use one of {', '.join(there)}")
    return torch.device(name)


def _mps_or_cpu() -> str:
    return "mps" if torch.backends.mps.is_available() else "cpu"


def describe_devices() -> dict[str, str]:
    """Return the devices of this machine, each with a description."""
    found = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            found[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found


def has_fast_bfloat16(device: torch.device) -> bool:
    """Tell whether bfloat16 products run on units of their own, rather than being emulated.

    Parameters
    ----------
    device
        A device that is there.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return False


def resolve_precision(name: str, device: torch.device) -> str:
    """Turn ``auto`` into ``bfloat16`` where that is fast on `device`, else ``float32``.

    Parameters
    ----------
    name
        ``auto``, ``float32`` or ``bfloat16``; the last two stay.
    device
        Where the network runs.

    Returns
    -------
    str
        ``float32`` or ``bfloat16``.
    """
    if name != "auto":
        return name
    return "bfloat16" if has_fast_bfloat16(device) else "float32"


class Engine(nn.Module):
    """A network on its device: channels-last, in the chosen precision, float32 outside.

    Parameters
    ----------
    network
        Maps (1, Cin, H, W) to (1, C, H, W); its weights stay float32.
    device
        Where it runs.
    precision
        ``float32`` or ``bfloat16``; the latter runs the network under autocast.
    replayable
        Whether a GPU may record the network's steps (`guided_dip.graphs`): it must compute the same
        whatever its numbers are, and draw none itself.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str,
        *,
        replayable: bool = False,
    ) -> None:
        super().__init__()
        self.replayable = replayable
        # Module.to takes a memory format, but its type stubs do not say so.
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device_type = device.type
        self._autocast = precision == "bfloat16"
        self._few_calls = self._autocast and replayable and device.type == "cuda"
        self._in_bfloat16: InBfloat16 | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Run the network: (1, Cin, H, W) float32 to (1, C, H, W) float32."""
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device_type, dtype=torch.bfloat16, enabled=self._autocast):
            output: Tensor = self._running(x)
        return output.float()

    @property
    def _running(self) -> nn.Module | InBfloat16:
        if not self._few_calls:
            return self.network
        if self._in_bfloat16 is None:
            self._in_bfloat16 = InBfloat16(self.network)
        return self._in_bfloat16

    @property
    def layers(self) -> Iterator[nn.Module]:
        """The modules that run."""
        running = self._running
        return (running.layers if isinstance(running, InBfloat16) else running).modules()


def to_tensor(pixels: NDArray[np.float32], device: torch.device) -> Tensor:
    """Take an (H, W, C) array to a (1, C, H, W) tensor of its own on a device.

    Parameters
    ----------
    pixels : (H, W, C)
        The image, float32.
    device
        Where the tensor is to be.

    Returns
    -------
    Tensor
    """
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).to(device)


def to_array(image: Tensor) -> NDArray[np.float32]:
    """Take a (1, C, H, W) tensor to an (H, W, C) array, float32.

    Parameters
    ----------
    image : (1, C, H, W)
        On any device.

    Returns
    -------
    ndarray
    """
    array: NDArray[np.float32] = image[0].permute(1, 2, 0).float().cpu().numpy()
    return array


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Run with a number of CPU threads, and put the old number back.

    Parameters
    ----------
    threads
        How many; None: as it is.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
