"""Pictures an hour, one at a time and several together.

    python benchmarks/throughput.py FOLDER [--efforts fast,balanced] [--together 1,4,16]
                                    [--device cuda] [--rounds 2] [--by-step] [-o throughput.jsonl]

The pictures of the folder are cut to their middle 256x256 pixels, get noise of sigma 25, which is
told, and are restored as `guided_dip.restore` does it: preparing and fitting are in the time,
reading files and scoring are not. Where there are fewer pictures than are to be taken together,
they are taken again with other noise. The first round warms up and does not count. `--by-step` has
a GPU asked for each kernel of each step, as without graphs. A JSON line each.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 256


def pictures(folder: Path) -> list[NDArray[np.float32]]:
    """Read the pictures of a folder, and cut out the middle of each."""
    from guided_dip.images import read, to_float

    found = []
    for path in sorted(folder.glob("*.png")):
        pixels = to_float(read(path).pixels)
        top, left = ((length - SIDE) // 2 for length in pixels.shape[:2])
        found.append(pixels[top : top + SIDE, left : left + SIDE])
    return found


def restore_all(
    images: list[NDArray[np.float32]], effort: str, device: str, rounds: int
) -> dict[str, Any]:
    """Restore pictures together again and again; return the times and what came of it."""
    from skimage.metrics import peak_signal_noise_ratio

    from guided_dip.config import make_config
    from guided_dip.noise import add_gaussian_noise
    from guided_dip.restoration import prepare, run_together

    times, psnr = [], []
    for round_ in range(rounds + 1):
        before, prepared = time.perf_counter(), []
        for k, clean in enumerate(images):
            seed = round_ * len(images) + k
            noisy = add_gaussian_noise(clean, 25 / 255, seed=seed).astype(np.float32)
            settings = {"noise": "gaussian:25", "seed": seed, "device": device, "effort": effort}
            prepared.append(prepare(noisy, make_config(settings)))
        results = [prepared[0].run()] if len(images) == 1 else run_together(prepared)
        times.append(time.perf_counter() - before)
        for clean, result in zip(images, results, strict=True):
            if result is not None:
                psnr.append(peak_signal_noise_ratio(clean, result.image, data_range=1))
    each = float(np.median(times[1:])) / len(images)
    return {
        "effort": effort,
        "together": len(images),
        "device": prepared[0].config.device,
        "precision": prepared[0].config.precision,
        "steps": prepared[0].plan.steps,
        "seconds_each": round(each, 3),
        "pictures_an_hour": round(3600 / each),
        "psnr": round(float(np.mean(psnr)), 2),
        "seconds": [round(t, 2) for t in times],
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--efforts", default="fast,balanced")
    parser.add_argument("--together", default="1,4,16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--by-step", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.by_step:
        from guided_dip.training import trainer

        trainer.replay_of = lambda _network: None  # type: ignore[assignment]
    clean = pictures(args.folder)
    for effort in args.efforts.split(","):
        for count in map(int, args.together.split(",")):
            images = list(islice(cycle(clean), count))
            found = restore_all(images, effort, args.device, args.rounds)
            line = json.dumps(found | {"by_step": args.by_step})
            print(line, flush=True)
            if args.output is not None:
                with args.output.open("a", encoding="utf-8") as lines:
                    lines.write(line + "\n")


if __name__ == "__main__":
    main()
