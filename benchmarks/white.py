"""Counts of 12 bits and fewer in 16, restored with the type's white and with the one that is found.

    python benchmarks/white.py            # runs what is not recorded yet, prints the table
    python benchmarks/white.py --table    # prints the table of what is recorded

Each run adds a line to benchmarks/white.jsonl and is not repeated; delete a line to run it again.
128 x 128 gray crops of pictures that scikit-image ships, `fast`, one thread, everything estimated.
PSNR is of the counts, its range from no light to the brightest that the clean picture could have.
`floats` are the same counts as floats, with the white that is found: not rounded in the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import data

from guided_dip import restore
from guided_dip.config import make_config
from guided_dip.metrics import psnr
from guided_dip.restoration import prepare

RECORDS = Path(__file__).with_suffix(".jsonl")
SIDE, SEEDS = 128, 3
CROPS = {"camera": (90, 180), "immunohistochemistry": (200, 200)}
Floats = NDArray[np.float64]


def even(light: Floats, random: np.random.Generator) -> Floats:
    """Even noise of 100 counts beside a brightest light of 3500."""
    return 3500 * light + random.normal(0, 100, light.shape)


def photons(light: Floats, random: np.random.Generator) -> Floats:
    """As a camera counts: 4 counts a photon, 500 photons at most, read noise, and 100 for none."""
    return 100 + 4 * random.poisson(500 * light) + random.normal(0, 8, light.shape)


def hundreds(light: Floats, random: np.random.Generator) -> Floats:
    """Count 300 photons at most, one by one."""
    return random.poisson(300 * light).astype(np.float64)


def few(light: Floats, random: np.random.Generator) -> Floats:
    """Count 10 photons at most, one by one."""
    return random.poisson(10 * light).astype(np.float64)


CASES: dict[str, tuple[Callable[[Floats, np.random.Generator], Floats], int, int]] = {
    "even, 100 of 3500": (even, 0, 3500),
    "photons, 100 to 2100": (photons, 100, 2100),
    "photons, 0 to 300": (hundreds, 0, 300),
    "photons, 0 to 10": (few, 0, 10),
}
COARSE = "photons, 0 to 10"
Key = tuple[str, str, str, int]


def runs() -> Iterator[Key]:
    """Every run: case, white, picture, seed."""
    for seed in range(SEEDS):
        for picture in CROPS:
            for case in CASES:
                for white in ("type", "auto", *["floats"] * (case == COARSE)):
                    yield case, white, picture, seed


def run(case: str, white: str, picture: str, seed: int) -> dict[str, Any]:
    """Restore counts, and say how close they came."""
    count, black, brightest = CASES[case]
    top, left = CROPS[picture]
    light = _gray(getattr(data, picture)()[top : top + SIDE, left : left + SIDE]) / 255
    counts = count(light, np.random.default_rng(seed)).round().clip(0, 4095).astype(np.uint16)
    wanted = prepare(counts, make_config()).config.white if white == "floats" else white
    given = counts.astype(np.float32) if white == "floats" else counts
    result = restore(given, white=wanted, effort="fast", threads=1, seed=seed)
    clean = black + (brightest - black) * light

    def scored(image: NDArray[Any]) -> float:
        return round(psnr(image.astype(np.float64), clean, data_range=brightest - black), 3)

    return {
        "case": case,
        "white": white,
        "picture": picture,
        "seed": seed,
        "noisy": scored(counts),
        "restored": scored(result.image),
        "found": result.config.white,
        "noise": str(result.noise),
        "seconds": round(result.seconds, 1),
    }


def _gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the green channel of a picture in colour."""
    return pixels if pixels.ndim == 2 else pixels[..., 1]


def load() -> dict[Key, dict[str, Any]]:
    """Return what is recorded."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    found = [json.loads(line) for line in lines]
    return {(one["case"], one["white"], one["picture"], one["seed"]): one for one in found}


def table(records: dict[Key, dict[str, Any]]) -> str:
    """Lay the means over pictures and seeds out as Markdown, a row a case."""
    lines = ["| counts | noisy | the type's white | the white that is found | it is |"]
    lines.append("|---|---|---|---|---|")
    for case in CASES:
        of_case = [one for key, one in records.items() if key[0] == case]
        usual, found = (
            [one for one in of_case if one["white"] == white] for white in ("type", "auto")
        )
        if usual and found:
            means = [fmean(one["noisy"] for one in found)]
            means += [fmean(one["restored"] for one in part) for part in (usual, found)]
            whites = " or ".join(f"{white:g}" for white in sorted({one["found"] for one in found}))
            if case == COARSE:
                floats = fmean(one["restored"] for one in of_case if one["white"] == "floats")
                whites += f"; as floats {floats:.2f}"
            lines.append(f"| {case} | {' | '.join(f'{mean:.2f}' for mean in means)} | {whites} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is not recorded, unless only the table is wanted."""
    records = load()
    for key in () if "--table" in sys.argv else runs():
        if key not in records:
            records[key] = run(*key)
            with RECORDS.open("a") as file:
                file.write(json.dumps(records[key]) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
