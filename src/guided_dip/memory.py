"""The most memory that something took: of this process, or of the GPU it computed on.

`peak_memory` only reads what the system has counted. `forget_peak` makes it count anew, for a
process that does one thing after another; who calls `guided_dip.restore` in a program of their own
keeps their own counts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MEBI = 2**20
PROC = Path("/proc/self")  # where Linux tells about this process
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_PEAK = "VmHWM:"  # high-water mark of the resident memory, in kB
_NOW = "VmRSS:"  # the resident memory


def peak_memory(device: str = "cpu") -> int | None:
    """Return the most memory in use so far, in MiB, rounded up.

    On a CUDA device that is what PyTorch has allocated there; otherwise the resident memory of this
    process, all its libraries included. None where that is not counted: outside Linux.

    Parameters
    ----------
    device
        Where is computed, such as ``cpu`` or ``cuda:0``.
    """
    if device.startswith("cuda"):
        import torch

        return -(-torch.cuda.max_memory_allocated(device) // MEBI)
    return _of_process(_PEAK)


def memory_now() -> int | None:
    """Return the resident memory of this process, in MiB, rounded up; None outside Linux."""
    return _of_process(_NOW)


def _of_process(which: str) -> int | None:
    try:
        lines = (PROC / "status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith(which)]
    return -(-found[0] * 1024 // MEBI) if found else None


def forget_peak(device: str = "cpu") -> None:
    """Count from now on, where the system can; elsewhere what was before goes on counting.

    Parameters
    ----------
    device
        As for `peak_memory`.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        (PROC / "clear_refs").write_text("5")  # proc(5)


def total_memory(device: str = "cpu") -> int | None:
    """Return the memory there is, in bytes: of the GPU, or of the machine, or a container's share.

    All of it, used or not, so that the answer is the same every time; None where it is not known.

    Parameters
    ----------
    device
        As for `peak_memory`.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    found = []
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in LIMITS:
        with suppress(OSError, ValueError):  # "max" is no number: there is no limit
            found.append(int(path.read_text()))
    return min((amount for amount in found if amount > 0), default=None)
