"""A batch whose workers and coordinator are killed at random: every picture must end the same.

    python benchmarks/batch_faults.py --pictures 200 --kills 20 --restarts 5

makes small pictures, restores them undisturbed, and then once more while workers, and the
coordinator itself, are killed with SIGKILL. It counts what came of it and fails unless each picture
is done, once, with the bytes of the undisturbed batch, and nothing else was left. Linux only, as it
finds the workers in /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from guided_dip.batch.place import FOLDER, Place
from guided_dip.batch.reading import Reading
from guided_dip.errors import InputError
from guided_dip.images import Picture, write

SETTINGS = ("--noise", "gaussian:25", "--steps", "60", "--checkpoint-every", "0.1")
NETWORK = ("--set", "backbone_options={width: 8}", "--set", "threads=1")


def make_pictures(folder: Path, count: int) -> None:
    """Write small noisy pictures of several sizes and types, some in folders."""
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = 24 + 4 * (number % 3), 24 + 4 * (number % 5)
        ramp = np.linspace(60, 190, width)[None, :, None] * np.ones((height, 1, 3))
        noisy = (ramp + rng.normal(0, 25, ramp.shape)).clip(0, 255).astype(np.uint8)
        place = (
            folder / f"part {number % 4}" / f"picture-{number:04d}.{'tif' if number % 2 else 'png'}"
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        write(place, Picture(noisy if number % 3 else noisy[..., 0]))


def begin(frames: Path, outdir: Path, workers: int) -> subprocess.Popen[bytes]:
    """Start a batch."""
    command = [sys.executable, "-m", "guided_dip", "batch", str(frames), "-o", str(outdir)]
    command += [*SETTINGS, *NETWORK, "--workers", str(workers), "--quiet"]
    return subprocess.Popen(command)


def workers_of(coordinator: int) -> list[int]:
    """Return the processes that a coordinator has its pictures restored by."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if parent == coordinator and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def over(outdir: Path) -> int:
    """Return how many pictures are done."""
    try:
        with Reading(Place(outdir)) as reading:
            return reading.counts().done
    except InputError:  # it has not begun
        return 0


def disturb(frames: Path, outdir: Path, workers: int, blows: list[str], count: int) -> int:
    """Carry out a batch to its end, with blows spread over it; return how many workers were hit."""
    rng = random.Random(0)
    process, struck = begin(frames, outdir, workers), 0
    for number, blow in enumerate(blows):
        while over(outdir) < (number + 1) * count // (len(blows) + 1):
            if process.poll() is not None:
                sys.exit(f"the batch ended before blow {number + 1} with {process.returncode}")
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.5))
        if blow == "coordinator":
            process.kill()
            process.wait()
            process = begin(frames, outdir, workers)
        else:
            while not (alive := workers_of(process.pid)) and process.poll() is None:
                time.sleep(0.02)
            if alive:
                os.kill(rng.choice(alive), signal.SIGKILL)
                struck += 1
    if process.wait() != 0:
        sys.exit(f"the batch ended with {process.returncode}")
    return struck


def digests(outdir: Path) -> dict[str, str]:
    """Return what has been written, by name."""
    files = (path for path in outdir.rglob("*") if path.is_file())
    return {
        str(path.relative_to(outdir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if FOLDER not in path.parts
    }


def main() -> None:
    """Run both batches and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20, help="of workers")
    parser.add_argument("--restarts", type=int, default=5, help="kills of the coordinator")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batch-faults-"))
    try:
        frames, calm, rough = folder / "frames", folder / "calm", folder / "rough"
        make_pictures(frames, given.pictures)
        if begin(frames, calm, given.workers).wait() != 0:
            sys.exit("the undisturbed batch failed")
        blows = ["worker"] * given.kills + ["coordinator"] * given.restarts
        random.Random(1).shuffle(blows)
        began = time.monotonic()
        struck = disturb(frames, rough, given.workers, blows, given.pictures)
        seconds = time.monotonic() - began
        with Reading(Place(rough)) as reading:
            entries = reading.entries(None, 0, 10 * given.pictures)
        wanted, found = digests(calm), digests(rough)
        result = {
            "pictures": given.pictures,
            "workers_killed": struck,
            "coordinators_killed": given.restarts,
            "done": sum(entry.state == "done" for entry in entries),
            "rows": len(entries),
            "names": len({entry.name for entry in entries}),
            "same_bytes": sum(found.get(name) == digest for name, digest in wanted.items()),
            "files": len(found),
            "unfinished_work": (rough / FOLDER / "work").exists(),
            "seconds": round(seconds, 1),
        }
        print(json.dumps(result))
        whole = {"done", "rows", "names", "same_bytes", "files"}
        if any(result[key] != given.pictures for key in whole) or result["unfinished_work"]:
            sys.exit("not every picture is done once, with the same bytes and nothing else left")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
