"""Tasks other than denoising on folders of pictures: final outputs beside simple methods.

    python benchmarks/tasks.py super-resolve FOLDER --scale 4 --effort fast
    python benchmarks/tasks.py inpaint FOLDER --share 0.5 --effort balanced

*super-resolve*: luma (BT.601, 16 to 235 of 255), cropped around its middle to multiples of 32, made
smaller by Pillow's Lanczos filter, not rounded; PSNR without a border of 4 pixels, beside Pillow's
bicubic. *inpaint*: gray (Pillow's), so many of the pixels missing at random, drawn by
``numpy.random.default_rng(0)`` for each picture; PSNR of the whole picture, beside the nearest
known pixel. One seed; nothing is tuned to a picture.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from guided_dip import restore
from guided_dip.metrics import psnr
from guided_dip.operators import Downsample, enlarged

BORDER, MULTIPLE = 4, 32
LUMA = np.array([65.481, 128.553, 24.966]) / 255
Pixels = NDArray[np.float32]


def luma(path: Path) -> Pixels:
    """Read a picture's luma, cropped around its middle."""
    rgb = np.asarray(Image.open(path).convert("RGB"), np.float64) / 255
    whole = 16 / 255 + rgb @ LUMA
    top, left = ((side % MULTIPLE) // 2 for side in whole.shape)
    height, width = (side - side % MULTIPLE for side in whole.shape)
    return whole[top : top + height, left : left + width].astype(np.float32)


def super_resolve(path: Path, given: argparse.Namespace) -> tuple[float, float]:
    """Return the PSNR of bicubic interpolation and of the restoration."""
    clean = luma(path)
    x = torch.from_numpy(clean.astype(np.float64))[None, None]
    y = Downsample(given.scale, "lanczos")(x)
    small = y[0, 0].numpy().astype(np.float32)
    result = restore(small, task="super-resolve", enlarge=given.scale, effort=given.effort)
    bicubic = enlarged(y, given.scale)[0, 0].numpy()
    inner = slice(BORDER, -BORDER), slice(BORDER, -BORDER)
    before, after = (
        psnr(image.clip(0, 1)[inner], clean[inner], data_range=1.0)
        for image in (bicubic, result.image)
    )
    return before, after


def inpaint(path: Path, given: argparse.Namespace) -> tuple[float, float]:
    """Return the PSNR of nearest pixels and of the restoration."""
    clean = np.asarray(Image.open(path).convert("L"), np.float32) / 255
    missing = np.random.default_rng(0).random(clean.shape) < given.share
    holes = np.where(missing, np.float32(0), clean)
    result = restore(holes, mask=missing, clean=clean, effort=given.effort)
    assert result.scores is not None, "it was given the clean picture"
    assert result.scores_before is not None, "and so was what came before"
    return result.scores_before.psnr, result.scores.psnr


TASKS: dict[str, Callable[[Path, argparse.Namespace], tuple[float, float]]] = {
    "super-resolve": super_resolve,
    "inpaint": inpaint,
}


def main() -> None:
    """Print a line a picture, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--effort", default="fast")
    given = parser.parse_args()
    found = []
    for path in sorted(given.folder.glob("*.png")):
        began = time.perf_counter()
        before, after = TASKS[given.task](path, given)
        found.append((before, after))
        seconds = time.perf_counter() - began
        print(f"{path.stem:16} {before:6.2f} -> {after:6.2f} dB  {seconds:4.0f} s", flush=True)
    before, after = np.mean(found, axis=0)
    print(f"{'mean of ' + str(len(found)):16} {before:6.2f} -> {after:6.2f} dB")


if __name__ == "__main__":
    main()
