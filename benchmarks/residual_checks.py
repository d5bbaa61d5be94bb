"""How often the residual's warnings are right: false alarms, and what goes unnoticed.

    python benchmarks/residual_checks.py [--out FILE] [--side 64] [--effort fast] [--held-out]

Crops of pictures that scikit-image ships get noise of six kinds and are restored; the check's
measures go to FILE, a line a run, and the share of runs with each warning is printed. An
interrupted run goes on where it was; `--table` only prints; `--held-out` takes other crops than
those by which the thresholds were chosen. Kinds:

right       white Gaussian noise, level estimated
strong      the same, 1.6 times as strong as is given
weak        the same, 0.6 times as strong as is given
correlated  smeared over neighbours (a Gaussian of 0.7 pixels), level estimated
bright      variance proportional to the light, level estimated
smoothed    right, but the restoration is smeared (a Gaussian of 1.5 pixels) before the check
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from guided_dip import restore
from guided_dip.images import to_float
from guided_dip.residual import check_residual

KINDS = ("right", "strong", "weak", "correlated", "bright", "smoothed")
SIGMAS = (10, 25, 50)
PICTURES = ("astronaut", "camera", "cat", "coffee", "coins", "immunohistochemistry", "moon", "page")
WORDS = {
    "level given": "reads as",
    "too little": "only ",
    "too much": " times gaussian",
    "correlation": "correlated",
    "brightness": "parts as in",
    "edges": "edges are left",
}
Image = NDArray[Any]


def crops(side: int, *, held_out: bool) -> Iterator[tuple[str, Image]]:
    """Yield two crops of every picture, in [0, 1]."""
    places = (1 / 8, 5 / 8) if held_out else (1 / 3, 1 / 2)
    for name in PICTURES:
        picture = to_float(getattr(data, name)())
        height, width = picture.shape[:2]
        for number, place in enumerate(places):
            top, left = (int(place * size) for size in (height, width))
            crop = picture[top : top + side, left : left + side]
            yield f"{name}-{number}", crop.copy()


def noise_of(kind: str, clean: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Draw noise of a kind and a standard deviation."""
    white = rng.standard_normal(clean.shape)
    if kind == "correlated":
        smeared = ndimage.gaussian_filter(white, 0.7, axes=(0, 1))
        return smeared * (sigma / smeared.std())
    if kind == "bright":
        return white * np.sqrt(clean) * (sigma / np.sqrt(clean.mean()))
    return white * sigma


def measure(kind: str, clean: Image, sigma: float, seed: int, effort: str) -> dict[str, Any]:
    """Restore a crop and check what was taken away."""
    rng = np.random.default_rng(seed)
    noisy = np.clip(clean + noise_of(kind, clean, sigma / 255, rng), 0, 1)
    noisy = np.rint(noisy * 255).astype(np.uint8)
    factor = {"strong": 1.6, "weak": 0.6}.get(kind)
    noise = "auto" if factor is None else f"gaussian:{sigma / factor:.4g}"
    result = restore(noisy, noise=noise, effort=effort, seed=seed)
    if kind != "smoothed":
        assert result.residual is not None, "there was something to take away"
        return asdict(result.residual)
    smeared = ndimage.gaussian_filter(to_float(result.image), 1.5, axes=(0, 1))
    return asdict(check_residual(to_float(noisy), smeared, result.noise))


def table(path: Path) -> None:
    """Print the share of runs with each warning."""
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    print("| noise | runs | " + " | ".join(WORDS) + " | any |")
    print("|---" * (len(WORDS) + 3) + "|")
    for kind in KINDS:
        texts = [" ".join(run["warnings"]) for run in runs if run["kind"] == kind]
        if texts:
            shares = [np.mean([word in text for text in texts]) for word in WORDS.values()]
            shares.append(np.mean([bool(text) for text in texts]))
            print(f"| {kind} | {len(texts)} | " + " | ".join(f"{s:.0%}" for s in shares) + " |")


def main() -> None:
    """Make the runs that are not there yet, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    done = set()
    if args.out.exists():
        for line in args.out.read_text().splitlines():
            run = json.loads(line)
            done.add((run["kind"], run["crop"], run["sigma"]))
    cases = [] if args.table else list(crops(args.side, held_out=args.held_out))
    with args.out.open("a", encoding="utf-8") as file:
        for kind in KINDS:
            for seed, (name, clean) in enumerate(cases):
                # Every level for what must raise no alarm; one of them in turn for the rest.
                for sigma in SIGMAS if kind == "right" else (SIGMAS[seed % len(SIGMAS)],):
                    if (kind, name, sigma) not in done:
                        found = measure(kind, clean, sigma, seed, args.effort)
                        run = {"kind": kind, "crop": name, "sigma": sigma, **found}
                        file.write(json.dumps(run) + "\n")
                        file.flush()
    table(args.out)


if __name__ == "__main__":
    main()
