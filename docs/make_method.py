"""Make the figures of docs/explained.md: `python docs/make_method.py` (some minutes on two cores).

The picture is a crop of scikit-image's astronaut with noise of sigma 25 of 255. What is drawn is
one run each with seed 0, and the clean picture only scores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage import data

from guided_dip import Result, restore
from guided_dip.metrics import psnr
from guided_dip.noise import add_gaussian_noise
from guided_dip.plots import save

FOLDER = Path(__file__).parent / "images" / "method"
SIDE, SIGMA = 96, 25 / 255
Pixels = NDArray[np.float32]


def pictures() -> tuple[Pixels, Pixels]:
    """Return the clean picture and the noisy one."""
    clean = data.astronaut()[50 : 50 + SIDE, 170 : 170 + SIDE].astype(np.float32) / 255
    return clean, add_gaussian_noise(clean, SIGMA, seed=0)


def strip(tiles: list[tuple[str, Pixels]], name: str) -> None:
    """Draw pictures in a row, each under its title."""
    figure = Figure(figsize=(1.75 * len(tiles), 2.05), dpi=110)
    for axes, (title, pixels) in zip(
        np.atleast_1d(figure.subplots(1, len(tiles))), tiles, strict=True
    ):
        axes.imshow(np.clip(pixels, 0, 1), interpolation="nearest")
        axes.set_title(title, fontsize=8)
        axes.axis("off")
    figure.subplots_adjust(0.005, 0.0, 0.995, 0.83, wspace=0.03)
    save(figure, FOLDER / name)


def smooth(values: list[float], width: int) -> NDArray[np.float64]:
    """Return running means."""
    return np.convolve(values, np.ones(width) / width, "valid")


def courses(dip: Result, ours: Result, before: float) -> None:
    """Draw how the PSNR of both runs goes, over the share of the run."""
    figure = Figure(figsize=(6.4, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    for result, colour, label in (
        (dip, "#b3541e", "plain DIP: fitted to the noisy picture"),
        (ours, "#17606b", "Guided-DIP: fitted to recorrupted guides"),
    ):
        values = [record.psnr or 0.0 for record in result.records]
        # Squares of the picture, which the first guides are fitted to, are scored one by one.
        line = smooth(values, max(1, len(values) // 50))
        axes.plot(np.linspace(2, 100, len(line)), line, color=colour, label=label, lw=1.6)
    peak = max(record.psnr or 0.0 for record in dip.records)
    at = 100 * [record.psnr for record in dip.records].index(peak) / len(dip.records)
    axes.annotate(
        f"DIP's best, {peak:.1f} dB:\nnobody sees it without\nthe clean picture",
        (at, peak),
        (at + 9, peak - 5.4),
        fontsize=8,
        arrowprops={"arrowstyle": "->", "lw": 0.8},
    )
    axes.axhline(before, color="0.6", lw=0.8, ls=":")
    axes.annotate("the noisy picture", (99, before), fontsize=8, ha="right", va="bottom")
    axes.set(xlabel="share of the run, %", ylabel="PSNR of the output, dB", ylim=(14, None))
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.12), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, FOLDER / "courses.png")


def independence(clean: Pixels, noisy: Pixels) -> None:
    """Draw the noise of the target over that of the input: for plain pairs and recorrupted ones."""
    a, draw = 1.0, np.random.default_rng(1).standard_normal(noisy.shape).astype(np.float32)
    noise, eta = 255 * (noisy - clean), 25 * draw
    figure = Figure(figsize=(6.4, 3.1), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, x, y, title in (
        (left, noise, noise, "input y, target y"),
        (right, noise + a * eta, noise - eta / a, "input y + a·eta, target y - eta/a"),
    ):
        x, y = x.ravel()[::23], y.ravel()[::23]
        axes.plot(x, y, ".", ms=2, color="#17606b", alpha=0.6)
        axes.set_title(f"{title}\ncorrelation {np.corrcoef(x, y)[0, 1]:.2f}", fontsize=9)
        axes.set(xlabel="noise of the input, of 255", ylabel="noise of the target, of 255")
        axes.set(xlim=(-130, 130), ylim=(-130, 130), aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, FOLDER / "independence.png")


def pairs(noisy: Pixels) -> None:
    """Draw what the network is given and what it is fitted to, for the first and last strength."""
    draw = np.random.default_rng(1).standard_normal(noisy.shape).astype(np.float32)
    tiles = [("what there is: y", noisy)]
    for a in (2.0, 0.5):
        tiles += [(f"a = {a:g}: input", noisy + a * SIGMA * draw)]
        tiles += [(f"a = {a:g}: target", noisy - SIGMA * draw / a)]
    strip(tiles, "pairs.png")


def main() -> None:
    """Make all of them, and say their figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    clean, noisy = pictures()
    before = psnr(np.clip(noisy, 0, 1), clean, data_range=1.0)
    pairs(noisy)
    independence(clean, noisy)
    asked = {"clean": clean, "noise": "gaussian:25", "seed": 0}
    narrow = {"backbone": "skip", "backbone_options": {"width": 64}}
    dip = restore(noisy, supervision="observation", steps=2000, **narrow, **asked)
    ours = restore(noisy, effort="balanced", restarts=1, **asked)
    courses(dip, ours, before)
    known = dict(dip.snapshots)
    for steps in (20, 100):  # a shorter run with the same seed is the beginning of the longer one
        short = restore(noisy, supervision="observation", steps=steps, **narrow, **asked)
        known[steps - 1] = short.image
    tiles = [(f"step {step + 1}", known[step]) for step in (19, 99, 499, 1999)]
    strip([*tiles, ("the clean picture", clean)], "dip.png")
    ends = {"given": noisy, "DIP, at its end": dip.image, "Guided-DIP": ours.image}
    strip([*ends.items(), ("the clean picture", clean)], "ends.png")
    peak = max((record.psnr or 0.0, record.step) for record in dip.records)
    for name, result in (("DIP", dip), ("Guided-DIP", ours)):
        sys.stdout.write(f"{name}: {result.scores}, {result.seconds:.0f} s\n")
    sys.stdout.write(f"noisy {before:.2f} dB; DIP's best {peak}; steps {sorted(known)}\n")


if __name__ == "__main__":
    main()
