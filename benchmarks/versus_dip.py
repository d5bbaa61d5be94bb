"""The default restoration beside plain DIP, on crops of pictures that scikit-image ships.

    python benchmarks/versus_dip.py            # runs what is not recorded yet, prints the table
    python benchmarks/versus_dip.py coffee     # the same for one picture
    python benchmarks/versus_dip.py --table    # prints the table of what is recorded

Each run adds a line to benchmarks/versus_dip.jsonl and is not repeated; delete a line to run it
again. 128 x 128 colour crops, Gaussian noise of sigma 25/255, unclipped floats; PSNR of the final
output, clipped to [0, 1]. DIP is the paper's denoising network and procedure (1800 steps); its
peak is an oracle's figure, picked with the clean image in hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from skimage import data

from guided_dip import restore
from guided_dip.noise import add_gaussian_noise

RECORDS = Path(__file__).with_suffix(".jsonl")
SIGMA = 25 / 255
CROPS = {
    "astronaut": (20, 160),
    "chelsea": (60, 150),
    "coffee": (100, 230),
    "immunohistochemistry": (200, 200),
}
METHODS: dict[str, dict[str, Any]] = {
    "dip": {"supervision": "observation"},
    "fast": {"effort": "fast"},
    "balanced": {"effort": "balanced"},
}


def runs() -> Iterator[tuple[str, str, int]]:
    """Every run of the comparison."""
    chosen = [name for name in sys.argv[1:] if name in CROPS] or list(CROPS)
    for picture in chosen:
        for method in METHODS:
            yield picture, method, 0


def run(picture: str, method: str, seed: int) -> dict[str, Any]:
    """Restore one noisy crop and say how close it came."""
    top, left = CROPS[picture]
    clean = getattr(data, picture)()[top : top + 128, left : left + 128] / 255
    noisy = add_gaussian_noise(clean, SIGMA, seed=seed)
    result = restore(noisy, clean=clean.astype(np.float32), seed=seed, threads=1, **METHODS[method])
    assert result.scores is not None
    assert result.scores_before is not None
    peak = max(record.psnr for record in result.records if record.psnr is not None)
    return {
        "picture": picture,
        "method": method,
        "seed": seed,
        "noisy": round(result.scores_before.psnr, 3),
        "final": round(result.scores.psnr, 3),
        "ssim": round(result.scores.ssim, 4),
        "oracle_peak": round(peak, 3) if method == "dip" else None,
        "steps": result.config.steps,
        "seconds_one_thread": round(result.seconds, 1),
        "precision": result.config.precision,
    }


def load() -> list[dict[str, Any]]:
    """Return what is recorded."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    return [json.loads(line) for line in lines]


def table(records: list[dict[str, Any]]) -> str:
    """Lay the finished runs out as Markdown, a row a picture."""
    found = {(r["picture"], r["method"]): r for r in records}
    columns = ["noisy", "DIP, final", "DIP, peak (oracle)", *list(METHODS)[1:]]
    lines = ["| picture | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    rows = []
    for picture in CROPS:
        dip = found.get((picture, "dip"))
        if dip is None or any((picture, method) not in found for method in METHODS):
            continue
        ours = [found[picture, method]["final"] for method in list(METHODS)[1:]]
        rows.append([dip["noisy"], dip["final"], dip["oracle_peak"], *ours])
        lines.append(f"| {picture} | " + " | ".join(f"{value:.2f}" for value in rows[-1]) + " |")
    if rows:
        means = np.mean(rows, axis=0)
        lines.append("| **mean** | " + " | ".join(f"{value:.2f}" for value in means) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the table."""
    records = load()
    done = {(r["picture"], r["method"], r["seed"]) for r in records}
    for key in runs() if "--table" not in sys.argv else ():
        if key not in done:
            print(*key, flush=True)
            records.append(run(*key))
            with RECORDS.open("a") as file:
                file.write(json.dumps(records[-1]) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
