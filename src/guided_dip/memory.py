"""The most memory that something took, of this process or of the GPU it computed on; and its reuse.

`peak_memory` only reads what the system has counted. `forget_peak` makes it count anew, for a
process that does one thing after another; who calls `guided_dip.restore` in a program of their own
keeps their own counts.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MEBI = 2**20
PROC = Path("/proc/self")  # where Linux tells about this process
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_PEAK = "VmHWM:"  # high-water mark of the resident memory, in kB
_NOW = "VmRSS:"  # the resident memory

# Of mallopt(3): from how many bytes on an allocation is mapped by itself, and free memory at the
# heap's end is given back; the largest that glibc sets itself as allocations grow, and for reuse.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USUAL, _REUSE = {_TRIM_THRESHOLD: 2**26, _MMAP_THRESHOLD: 2**25}, 2**31 - 1


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


@contextmanager
def memory_reused() -> Iterator[None]:
    """Have memory that is freed kept for what is needed next, and given back at the end.

    PyTorch frees and allocates the same large tensors at every step of a fit. On Linux, glibc hands
    them back to the system and asks for them again, which then clears each of their pages: a fifth
    of a step's time on large pictures. Elsewhere nothing is done.
    """
    reuse_memory(True)
    try:
        yield
    finally:
        reuse_memory(False)
        libc = _glibc()
        if libc is not None:
            libc.malloc_trim(0)


def reuse_memory(reuse: bool) -> None:
    """Have memory that is freed kept from now on, or no longer; what is kept is not given back.

    Parameters
    ----------
    reuse
        False for the largest limits that glibc comes to by itself, as allocations grow.
    """
    libc = _glibc()
    if libc is not None:
        for parameter, usual in _USUAL.items():
            libc.mallopt(parameter, _REUSE if reuse else usual)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it has these functions: glibc's, on Linux."""
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        if libc.gnu_get_libc_version and libc.mallopt and libc.malloc_trim:
            return libc
    return None
