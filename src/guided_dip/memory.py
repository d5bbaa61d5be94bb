"""The most memory that something took: of this process, or of the GPU it computed on."""

from __future__ import annotations

from pathlib import Path

MEBI = 2**20
_PEAK_OF_PROCESS = "VmHWM:"  # high-water mark, in kB


class PeakMemory:
    """The most memory in use since this was made.

    On a CUDA device that is what PyTorch has allocated there; otherwise the resident memory of this
    process, all its libraries included, which only Linux counts from a moment on.

    Parameters
    ----------
    device
        Where is computed, such as ``cpu`` or ``cuda:0``.
    proc
        Where the system tells about this process.
    """

    def __init__(self, device: str = "cpu", proc: Path = Path("/proc/self")) -> None:
        self._gpu = device if device.startswith("cuda") else None
        self._proc, self._counts = proc, True
        if self._gpu is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self._gpu)
            return
        try:
            (proc / "clear_refs").write_text("5")  # proc(5): resets the high-water mark
        except OSError:
            self._counts = False

    def mebibytes(self) -> int | None:
        """Return it in MiB, rounded up; None where it is not counted."""
        taken = self._of_process() if self._gpu is None else self._of_gpu(self._gpu)
        return None if taken is None else -(-taken // MEBI)

    def _of_process(self) -> int | None:
        if not self._counts:
            return None
        try:
            lines = (self._proc / "status").read_text().splitlines()
        except OSError:
            return None
        found = [int(line.split()[1]) for line in lines if line.startswith(_PEAK_OF_PROCESS)]
        return found[0] * 1024 if found else None

    @staticmethod
    def _of_gpu(device: str) -> int:
        import torch

        return torch.cuda.max_memory_allocated(device)
