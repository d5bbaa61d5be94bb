"""What a machine can do at best: arithmetic in float32 and bfloat16, and memory bandwidth.

The rate is the better of a large matrix product and a large convolution, the bandwidth that of a
large copy, which reads and writes every byte. No step of a fit can be faster than these allow.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

MATRIX = 2048  # rows and columns
CHANNELS, SIDE, KERNEL = 128, 128, 3  # of the convolution
COPIED = 2**28  # bytes
REPEATS = 7
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """A machine, and what it was measured to do.

    Attributes
    ----------
    device, name
        PyTorch's name of the device, and the maker's.
    threads
        Of the CPU.
    torch
        PyTorch's version.
    float32, bfloat16
        Arithmetic rates, in operations a second.
    bandwidth
        Bytes read and written a second.
    """

    device: str
    name: str
    threads: int
    torch: str
    float32: float
    bfloat16: float
    bandwidth: float

    def rate(self, precision: str) -> float:
        """Return the arithmetic rate in ``float32`` or ``bfloat16``, in operations a second."""
        return self.bfloat16 if precision == "bfloat16" else self.float32


def measure_machine(device: torch.device) -> Machine:
    """Measure the rates of a device; takes a few seconds.

    Parameters
    ----------
    device
        Where.
    """
    return Machine(
        device=str(device),
        name=device_name(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        float32=_rate(device, torch.float32),
        bfloat16=_rate(device, torch.bfloat16),
        bandwidth=_bandwidth(device),
    )


def device_name(device: torch.device) -> str:
    """Return the maker's name of a processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if CPUINFO.exists():
        for line in CPUINFO.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return how long some work takes: by the GPU's own events where there is one.

    Parameters
    ----------
    work
        What to do.
    device
        Where it is done.
    """
    if device.type == "cuda":
        # The GPU's own stream: without it, events go to the first GPU's, wherever the work is.
        stream = torch.cuda.current_stream(device)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record(stream)
        work()
        end.record(stream)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3
    _finish(device)  # what was asked for before is not this work
    before = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - before


def _finish(device: torch.device) -> None:
    """Wait for an Apple GPU; a CPU has nothing outstanding."""
    if device.type == "mps":
        torch.mps.synchronize()


def _median(work: Callable[[], object], device: torch.device) -> float:
    work()  # warm
    return statistics.median(seconds_of(work, device) for _ in range(REPEATS))


@torch.no_grad()
def _rate(device: torch.device, dtype: torch.dtype) -> float:
    a, b = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
    product = 2 * MATRIX**3 / _median(lambda: a @ b, device)
    x = torch.randn(1, CHANNELS, SIDE, SIDE, device=device).to(dtype)
    w = torch.randn(CHANNELS, CHANNELS, KERNEL, KERNEL, device=device).to(dtype)
    x, w = (t.contiguous(memory_format=torch.channels_last) for t in (x, w))
    operations = 2 * CHANNELS**2 * KERNEL**2 * SIDE**2
    convolution = operations / _median(lambda: F.conv2d(x, w, padding=KERNEL // 2), device)
    return max(product, convolution)


@torch.no_grad()
def _bandwidth(device: torch.device) -> float:
    a, b = (torch.zeros(COPIED, dtype=torch.uint8, device=device) for _ in range(2))
    return 2 * COPIED / _median(lambda: b.copy_(a), device)
