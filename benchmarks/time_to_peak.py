"""Time to plain DIP's peak: the default's whole run beside the original procedure's.

    guided-dip benchmark FOLDER --noise gaussian:25 --methods dip-peak -o DIR --records peaks.jsonl
    python benchmarks/time_to_peak.py FOLDER peaks.jsonl [--effort fast] [--threads 2] [-o FILE]

For each picture of the folder that the records have a peak of, a restoration of the same noisy
pixels is carried out and timed, preparing included. Steps of the reference loop (skip network,
eager float32, a second pass and a picture kept at every step: `guided_dip.speed.ReferenceLoop`)
take turns with it; the original procedure has 1800 of them. The peak is an oracle's, found with the
clean picture in hand; the restoration's figure is of its final output. A JSON line each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

STEPS = 1800  # Ulyanov et al., CVPR 2018, denoising
TURNS, TAKEN = 3, 3  # of the reference loop around the restoration, and its steps in each


def reference_seconds(noisy: np.ndarray) -> list[float]:
    """Time some steps of the reference loop on a picture, after one that warms up."""
    from guided_dip.speed import ReferenceLoop

    loop, taken = ReferenceLoop.of("skip", noisy, device=torch.device("cpu")), []
    for _ in range(1 + TAKEN):
        before = time.perf_counter()
        loop.step()
        taken.append(time.perf_counter() - before)
    return taken[1:]


def measure(path: Path, peak: float, effort: str) -> dict[str, float | str]:
    """Restore a picture between turns of the reference loop."""
    from skimage.metrics import peak_signal_noise_ratio

    from guided_dip import restore
    from guided_dip.images import read, to_float
    from guided_dip.noise import add_gaussian_noise

    clean = to_float(read(path).pixels).astype(np.float64)
    noisy = add_gaussian_noise(clean, 25 / 255, seed=0).astype(np.float32)
    reference, ours = reference_seconds(noisy), []
    for _ in range(TURNS):
        before = time.perf_counter()
        result = restore(noisy, effort=effort, noise="gaussian:25", device="cpu")
        ours.append(time.perf_counter() - before)
        reference += reference_seconds(noisy)
    psnr = peak_signal_noise_ratio(clean, result.image.clip(0, 1), data_range=1)
    seconds, theirs = statistics.median(ours), STEPS * statistics.median(reference)
    return {
        "picture": path.stem,
        "effort": effort,
        "threads": torch.get_num_threads(),
        "psnr": round(float(psnr), 2),
        "dip_peak": round(peak, 2),
        "seconds": round(seconds, 1),
        "dip_seconds": round(theirs),
        "times_shorter": round(theirs / seconds, 1),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("records", type=Path)
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    records = [json.loads(line) for line in args.records.read_text().splitlines()]
    peaks = {r["image"]: r["psnr"] for r in records if r["method"] == "dip-peak"}
    for name, peak in sorted(peaks.items()):
        line = json.dumps(measure(args.folder / f"{name}.png", peak, args.effort))
        print(line, flush=True)
        if args.output is not None:
            with args.output.open("a", encoding="utf-8") as lines:
                lines.write(line + "\n")


if __name__ == "__main__":
    main()
