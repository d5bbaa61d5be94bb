"""How many pictures an hour a batch restores with one worker and with two, and in what memory.

    python benchmarks/batch_workers.py [--rounds 3] [--pictures 8] [--memory]

The kinds of batches take turns, so that whatever else the machine does falls on all alike; what is
quoted are ratios of medians over whole commands, their start included. With --memory, larger
pictures are restored by two workers within a --max-memory that holds only one of them at a time,
and the memory of all processes of the batch is counted as it goes (proportional set sizes; Linux).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from skimage import data

from guided_dip.images import Picture, write

KINDS = {
    "1 worker of 1 thread": (1, 1),
    "2 workers of 1 thread": (2, 1),
    "1 worker of 2 threads": (1, 2),
}
MEBI = 2**20


def make_pictures(folder: Path, count: int, side: int) -> None:
    """Write crops of a photograph with noise of sigma 25."""
    rng = np.random.default_rng(0)
    photograph = data.astronaut()
    folder.mkdir(parents=True)
    for number in range(count):
        top, left = rng.integers(0, 512 - side + 1, 2)
        crop = photograph[top : top + side, left : left + side]
        noisy = (crop + rng.normal(0, 25, crop.shape)).clip(0, 255).astype(np.uint8)
        write(folder / f"{number:03d}.png", Picture(noisy))


def command(frames: Path, outdir: Path, workers: int, threads: int, *more: str) -> list[str]:
    """Return the command of a batch."""
    words = [sys.executable, "-m", "guided_dip", "batch", str(frames), "-o", str(outdir)]
    words += ["--effort", "fast", "--noise", "gaussian:25", "--quiet"]
    return [*words, "--workers", str(workers), "--set", f"threads={threads}", *more]


def memory_of(process: int) -> int:
    """Return the memory of a process and of those that it has started, in bytes."""
    total = 0
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (OSError, StopIteration):
        return total * 1024
    return total * 1024 + sum(memory_of(int(child)) for child in children)


def rounds_of(frames: Path, folder: Path, rounds: int, pictures: int) -> dict[str, float]:
    """Return pictures an hour of each kind of batch, the median over the rounds."""
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    for number in range(rounds):
        for name, (workers, threads) in KINDS.items():
            outdir = folder / f"{number} {name}"
            began = time.monotonic()
            subprocess.run(command(frames, outdir, workers, threads), check=True)
            found[name].append(3600 * pictures / (time.monotonic() - began))
            print(f"{name}: {found[name][-1]:.0f} an hour", file=sys.stderr)
    return {name: statistics.median(paces) for name, paces in found.items()}


def most_memory(frames: Path, outdir: Path, limit: str) -> int:
    """Return the most memory that a batch of two workers takes, in bytes."""
    process = subprocess.Popen(command(frames, outdir, 2, 1, "--max-memory", limit))
    most = 0
    while process.poll() is None:
        most = max(most, memory_of(process.pid))
        time.sleep(0.1)
    if process.returncode:
        sys.exit("the batch failed")
    return most


def main() -> None:
    """Run the batches and tell what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batch-workers-"))
    try:
        if given.memory:
            make_pictures(folder / "frames", 4, 512)
            for limit in ("1400MiB", "4GiB"):
                most = most_memory(folder / "frames", folder / limit, limit)
                print(json.dumps({"max_memory": limit, "most_MiB": round(most / MEBI)}))
            return
        make_pictures(folder / "frames", given.pictures, given.side)
        paces = rounds_of(folder / "frames", folder, given.rounds, given.pictures)
        one, two, threaded = paces.values()
        ratios = {"two / one": two / one, "two / one of 2 threads": two / threaded}
        told = {name: round(value, 2) for name, value in (paces | ratios).items()}
        print(json.dumps(told, indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
